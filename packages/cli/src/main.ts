/** The command line: finds the command, lets it read its arguments, and ends with an exit code that says how it went. */
import { Command, CommanderError } from 'commander';
import { createRequire } from 'node:module';
import { COMMANDS } from './commands/index.js';
import { EXIT, EXIT_CODES_HELP, printFailure } from './output/failure.js';

const { version: VERSION } = createRequire(import.meta.url)('../package.json') as { readonly version: string };

/** Runs one command. Sets the process's exit code. */
export async function runCommandLine(args: readonly string[]): Promise<void> {
  process.stdout.on('error', (error: NodeJS.ErrnoException) => { // such as `cluster list tasks | head`
    if (error.code === 'EPIPE') process.exit(EXIT.success);
    throw error;
  });
  try {
    const program = await makeProgram(args);
    if (args.length === 0) program.outputHelp();
    else if (args[0] === 'help' && args[1] !== undefined && !COMMANDS.some(({ name }) => name === args[1])) program.error(`error: unknown command '${args[1]}'`, { code: 'commander.unknownCommand' });
    else await program.parseAsync([...args], { from: 'user' });
  } catch (error) {
    if (error instanceof CommanderError) process.exitCode = error.exitCode === 0 ? EXIT.success : EXIT.usage;
    else process.exitCode = printFailure(error);
  }
}

/** The library's complaints, each on one line like our own. */
function inOurWords(complaint: string): string {
  return complaint.replace(/^error: /, 'cluster: ')
    .replace(/\n\(Did you mean (.*)\?\)/, '; did you mean $1?')
    .replace(/command-argument value ('.*') is invalid for argument '(\w+)'\. Allowed choices are (.*)\.$/m, '$2 $1 is none of $3');
}

/** Only the command that is asked for is loaded. */
async function makeProgram(args: readonly string[]): Promise<Command> {
  const program = new Command('cluster')
    .description('Muster\'s clusters: starts and stops nodes, runs programs on them, and shows what goes on.')
    .version(VERSION, '-V, --version', 'print the version')
    .enablePositionalOptions().exitOverride().helpCommand('help [command]', 'show what a command takes')
    .configureHelp({ showGlobalOptions: false, helpWidth: 100 })
    .configureOutput({ outputError: (text, write) => write(inOurWords(text)) })
    .addHelpText('after', `\nExamples:\n  cluster start --head\n  cluster submit -- node app.ts\n  cluster stop\n\n${EXIT_CODES_HELP}`);
  const wanted = args[0] === 'help' ? args[1] : args[0];
  for (const { name, summary, load } of COMMANDS) {
    const command = program.command(name).description(summary).showHelpAfterError(`  \`cluster ${name} --help\` shows what it takes.`);
    if (name === wanted) (await load()).define(command);
  }
  program.showHelpAfterError('  `cluster --help` lists the commands.');
  return program;
}
