/** Captured code keeps the lines and columns of the file as its author wrote it, whatever edits and loaders did to the text. */
import { spawnSync } from 'node:child_process';
import t from 'tap';
import { layOut, type Piece, type Position } from './layout.js';
import { tsxFlags } from './testing/main-script.js';
import { environment, makeProject } from './testing/project.js';

const TASKS = `
import { capture } from '@muster/closure';

interface Shape { readonly sides: number }
class Base {
  protected constructor(readonly shape: Shape) {}
}

let count: number = 0;
let n: number = 0;

const assigns = (step: number): string => {
  count += step; n++; const here = new Error('one').stack!;
  return (
    here + new Error('two').stack!
  );
};

class Derived extends Base { constructor() { super({ sides: 3 }); throw new Error('three'); } }

class Long {
  static made = 0;
  constructor() {
    this.fail();
  }
  fail(): void { throw new Error('five'); }
}

const template = (): string => \`\${count++} of
\${n}\`
  + new Error('four').stack!;

process.stdout.write(Buffer.from(capture({ assigns, Derived, Long, template })).toString('base64'));
`;

/** Runs in a process that knows nothing of the main script, as a worker does. */
const REVIVER = `
import { revive } from '@muster/closure';
const { assigns, Derived, Long, template } = revive(Buffer.from(process.argv[2], 'base64'));
console.log(assigns(1));
for (const Class of [Derived, Long]) try { new Class(); } catch (error) { console.log(error); }
console.log(template());
`;

const withoutTypes = (text: string): string => text.replace(/interface.*/, '').replace(/: (?:number|string|void|Shape)\b|readonly |protected |!(?=;|\n)/g, '').replace('constructor(shape) {}', 'constructor(shape) { this.shape = shape; }');

t.test('stacks name the places of the author, also where a line was lengthened or squeezed', async (t) => {
  for (const { how, file, type, flags, text } of [
    { how: 'JavaScript', file: 'main.mjs', type: 'module', flags: [], text: withoutTypes(TASKS) },
    { how: 'TypeScript through tsx', file: 'main.ts', type: 'module', flags: tsxFlags, text: TASKS },
    { how: 'TypeScript through tsx, as CommonJS', file: 'main.ts', type: 'commonjs', flags: tsxFlags, text: TASKS },
  ] as const) {
    const project = makeProject(type);
    t.teardown(() => project.remove());
    const run = (...parameters: readonly string[]): string => {
      const { stdout, stderr } = spawnSync(process.execPath, parameters, { cwd: project.directory, env: environment, encoding: 'utf8' });
      t.equal(stderr, '', how);
      return stdout;
    };
    const bytes = run(...flags, project.write(file, text));
    const stacks = run(project.write('reviver.mjs', REVIVER), bytes);
    for (const word of ['one', 'two', 'three', 'four', 'five']) {
      const before = text.slice(0, text.indexOf(`new Error('${word}')`)).split('\n');
      const place = `${project.directory}/${file}:${before.length}:${before.at(-1)!.length + 1}`;
      t.match(new RegExp(`Error: ${word}\n +at .*`).exec(stacks)?.[0], place, `${how}: ${word}`);
    }
  }
});

t.test('white space only goes where it changes nothing', async (t) => {
  const lay = (source: string, lines: Readonly<Record<string, number>>): string => {
    const pieces: Piece[] = [...source.matchAll(/\w+|=>|\+\+|[^\s\w]/g)].map(({ 0: text, index }) => ({ start: index, end: index + text.length, text, isTemplate: false }));
    const wordAt = ({ column }: Position): string => pieces.find(({ start }) => start === column)!.text;
    return layOut(source, pieces, { line: 0, column: 0 }, (position) => (position.column === 0 ? { line: 0, column: 0 } : wordAt(position) in lines ? { line: lines[wordAt(position)]!, column: 2 } : undefined)).text;
  };
  t.equal(lay('f();g()', { g: 2 }), 'f();\n\n  g()');
  t.equal(lay('f();return x', { x: 2 }), 'f();return x', 'no line break may follow a return');
  t.equal(lay('x++;y', { '++': 1, y: 2 }), 'x++;\n\n  y', 'nor stand before ++');
  t.equal(lay('a;b;c', { b: 5, c: 3 }), 'a;\n\n\n\n\n  b;c', 'what came earlier in the file stays where it is');
});
