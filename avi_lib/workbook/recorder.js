// Pressed button: record until pressed again, then hand WebM or MP4 over as a data URL in the hidden box of text.
const button = this;
if (button.recorder) { button.recorder.stop(); return; }
const box = button.closest('.avi-record').querySelector('textarea');
const tell = text => {
  box.value = text;
  for (const kind of ['input', 'change']) box.dispatchEvent(new Event(kind, {bubbles: true}));
};
(async () => {
  try {
    const stream = await navigator.mediaDevices.getUserMedia({audio: true});
    const recorder = new MediaRecorder(stream), pieces = [];
    recorder.ondataavailable = event => pieces.push(event.data);
    recorder.onstop = () => {
      stream.getTracks().forEach(track => track.stop());
      button.recorder = null;
      button.textContent = '● Record';
      button.classList.remove('avi-on');
      const reader = new FileReader();
      reader.onload = () => tell(reader.result);
      reader.readAsDataURL(new Blob(pieces, {type: recorder.mimeType}));
    };
    recorder.start();
    button.recorder = recorder;
    button.textContent = '■ Stop';
    button.classList.add('avi-on');
  } catch (error) { tell('failed:' + Date.now() + ':' + error.message); }
})();
