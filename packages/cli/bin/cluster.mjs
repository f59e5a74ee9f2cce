#!/usr/bin/env node
/** The `cluster` program. A process that becomes a node skips the command line's own modules: programs wait for it. */
import module from 'node:module';

module.enableCompileCache?.(); // from Node 22 on
const args = process.argv.slice(2);
const isNodeProcess = args[0] === 'start' && (args.includes('--ephemeral') || args.includes('--background'));
if (isNodeProcess) await (await import('../dist/node/node-process.js')).runNodeProcess(args.slice(1));
else await (await import('../dist/main.js')).runCommandLine(args);
