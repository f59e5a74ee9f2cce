export { capture, type CaptureOptions } from './capture.js';
export { preload } from './loader.js';
export { revive, type ReviveOptions } from './revive.js';
export { writtenAt } from './written-at.js';
