"""The playground: a page of controls over one talking face, with a preview a second after every edit."""
