/** Preloaded by sanitize-addon.sh: has Node open the addon with the sanitizers where the plain one is asked for, which stays as it is for everybody else. */
'use strict';
const { dlopen } = process;
process.dlopen = (target, file, ...flags) => dlopen(target, file.replace(/\/build\/Release\/muster\.node$/, '/build/sanitize-addon/Release/muster.node'), ...flags);
