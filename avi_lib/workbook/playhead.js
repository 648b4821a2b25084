// A line through every view over time, where the video is; a click into one takes the video there.
const page = this.closest('.avi-page');
this.remove();
const video = () => page.querySelector('video');
const start = () => Number(page.querySelector('.avi-clock')?.dataset.start || 0);
const axis = view => {  // left and right in pixels, and the times there
  if (view.dataset.end) {
    const wide = view.clientWidth;
    return [view.dataset.left * wide, view.dataset.right * wide, 0, Number(view.dataset.end)];
  }
  const x = view._fullLayout?.xaxis;
  return x && !view._fullLayout.scene ? [x._offset, x._offset + x._length, x.range[0], x.range[1]] : null;
};
const views = () => page.querySelectorAll('.avi-timed, .js-plotly-plot');
let unseen = 0;
const follow = () => {
  unseen = page.isConnected ? 0 : unseen + 1;
  if (unseen > 36000) return;  // ten minutes after the page is gone
  for (const view of views()) {
    const place = axis(view), time = video() ? video().currentTime + start() : 0;
    if (!place) continue;
    let line = view.querySelector(':scope > .avi-playhead');
    if (!line) {
      line = view.appendChild(document.createElement('i'));
      line.className = 'avi-playhead';
    }
    const [left, right, from, to] = place, share = (time - from) / (to - from);
    line.style.display = share >= 0 && share <= 1 ? '' : 'none';
    line.style.left = `${left + share * (right - left)}px`;
  }
  requestAnimationFrame(follow);
};
page.addEventListener('click', event => {
  const view = event.target.closest('.avi-timed'), place = view && axis(view);
  if (!place || !video()) return;
  const [left, right, from, to] = place, x = event.clientX - view.getBoundingClientRect().left;
  video().currentTime = Math.max(from + (x - left) / (right - left) * (to - from) - start(), 0);
});
follow();
