/**
 * Golden scripts: paragraphs of comments and commands, then a line of dashes, then what the commands bring about. They are documentation, too.
 * MUSTER_REWRITE=1 writes what happens now into the scripts, for reading in a diff.
 */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';

const SEPARATOR = '----';

/** What carries commands out. */
export interface Script {
  /** Returns what happens because of the command, a line each. */
  run(command: string): readonly string[];
}

/** A paragraph as it stands in its script, and as it would be written now. */
export interface ReplayedParagraph {
  readonly expected: string;
  readonly actual: string;
}

/** The scripts in a folder. */
export const goldenScripts = (folder: string): string[] => readdirSync(folder).sort().map((file) => `${folder}${file}`);

/** Carries out the paragraphs of the script in a file, one after the other. */
export function replayGolden(path: string, script: Script): ReplayedParagraph[] {
  const paragraphs = readFileSync(path, 'utf8').trimEnd().split(/\n\n+/);
  const replayed = paragraphs.map((expected) => ({ expected, actual: replay(script, expected) }));
  if (process.env['MUSTER_REWRITE'] !== '1') return replayed;
  writeFileSync(path, `${replayed.map(({ actual }) => actual).join('\n\n')}\n`);
  return replayed.map(({ actual }) => ({ expected: actual, actual }));
}

function replay(script: Script, paragraph: string): string {
  const [head = ''] = paragraph.split(`\n${SEPARATOR}`);
  const commands = head.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  if (commands.length === 0) return head;
  return [head, SEPARATOR, ...commands.flatMap((command) => script.run(command))].join('\n');
}
