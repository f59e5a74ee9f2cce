/** For tests of all packages. */
export { forEachSeed } from './seeds.js';
export { goldenScripts, replayGolden, type ReplayedParagraph, type Script } from './golden.js';
