/**
 * What V8 knows of a function and JavaScript does not tell: where its source stands, and the variables that it closes over.
 * Owns the inspector session of this thread. Knows nothing of syntax: scripts.ts reads the sources.
 *
 * `session.post` answers synchronously, and a session without an enabled domain costs the program nothing. The Debugger
 * domain does cost (awaits run 9 times slower), so it is enabled at most once per capture and only for a script never seen.
 */
import type { Debugger, Runtime, Session } from 'node:inspector';
import { makeError } from '@muster/base';
import { toUrl } from './files.js';
import { describeScript, type ScriptDescription } from './scripts.js';

/** The variables of one scope as they are now: a snapshot. Reading one that is not initialised may throw. */
export interface Scope {
  /** V8's word for it: `Module`, `Closure (outer)`, `Block`, `Script`, `Global`. */
  readonly description: string;
  readonly variables: Readonly<Record<string, unknown>>;
}

/** A place in a script; both numbers count from 0. For a function or method it is that of its parameters, else its start. */
export interface Location {
  readonly scriptId: string;
  readonly line: number;
  readonly column: number;
}

export interface FunctionFacts {
  /** Absent for native and for bound functions. */
  readonly location?: Location;
  /** Innermost first. */
  readonly scopes: readonly Scope[];
  readonly bound?: { readonly target: Function; readonly receiver: unknown; readonly arguments: readonly unknown[] };
}

export interface Script {
  readonly id: string;
  /** A URL, or V8's name for code that is in no file. */
  readonly url: string;
  /** Its text names a source map, as a loader's does. */
  readonly hasSourceMap: boolean;
  /** Absent for Node's own scripts. */
  readonly description?: ScriptDescription;
}

const OBJECT_GROUP = 'muster-capture';

let session: Session | undefined;
/** Hands values over between this code and the inspector, which knows objects by id. */
const holder: { value?: unknown } = {};
let holderId = '';

/** Scripts that are kept described; a worker may compile ever new ones. */
const SCRIPT_LIMIT = 4096;
const scripts = new Map<string, Script>();
/** What the Debugger announced since it was enabled; undefined while it is disabled. */
let announced: Map<string, Debugger.ScriptParsedEventDataType> | undefined;

/** Reads a function's location, its scopes and, when it is bound, its parts. */
export function inspectFunction(fn: Function): FunctionFacts {
  const { internalProperties = [] } = inspect(fn);
  const internal = new Map(internalProperties.map(({ name, value }) => [name, value]));
  const location = internal.get('[[FunctionLocation]]')?.value as Debugger.Location | undefined;
  const scopes = internal.get('[[Scopes]]');
  const target = internal.get('[[TargetFunction]]');
  return {
    ...(location && { location: { scriptId: location.scriptId, line: location.lineNumber, column: location.columnNumber ?? 0 } }),
    scopes: scopes ? readScopes(scopes) : [],
    ...(target && {
      bound: {
        target: materialize(target) as Function,
        receiver: materialize(internal.get('[[BoundThis]]')),
        arguments: Array.from(materialize(internal.get('[[BoundArgs]]')) as ArrayLike<unknown>),
      },
    }),
  };
}

/** The values of a class's static private fields, by name (`#count`). */
export function readPrivateFields(fn: Function): ReadonlyMap<string, unknown> {
  const { privateProperties = [] } = inspect(fn);
  return new Map(privateProperties.map(({ name, value }) => [name, materialize(value)]));
}

/** The script with this id. What it opens stays open until {@link releaseInspector}. */
export function scriptOf(scriptId: string): Script {
  const known = scripts.get(scriptId);
  if (known) return known;
  const event = announcedScripts().get(scriptId);
  const url = event?.url ?? '';
  const script: Script = {
    id: scriptId,
    url: toUrl(url),
    hasSourceMap: Boolean(event?.sourceMapURL),
    ...(!url.startsWith('node:') && {
      description: describeScript(post<Debugger.GetScriptSourceReturnType>('Debugger.getScriptSource', { scriptId }).scriptSource, event?.isModule ?? false),
    }),
  };
  if (scripts.size >= SCRIPT_LIMIT) scripts.clear();
  scripts.set(scriptId, script);
  return script;
}

/** Ends what one capture began: forgets the inspector's handles, and disables the Debugger. */
export function releaseInspector(): void {
  if (!session) return;
  delete holder.value;
  post('Runtime.releaseObjectGroup', { objectGroup: OBJECT_GROUP });
  if (announced) post('Debugger.disable');
  announced = undefined;
}

function announcedScripts(): NonNullable<typeof announced> {
  if (!announced) {
    announced = new Map();
    post('Debugger.enable');
  }
  return announced;
}

/** The protocol's experimental part, which the type declarations leave out. */
type Properties = Runtime.GetPropertiesReturnType & {
  readonly privateProperties?: readonly { readonly name: string; readonly value?: Runtime.RemoteObject }[];
};

function inspect(value: Function): Properties {
  openSession();
  holder.value = value;
  const { result } = post<Runtime.CallFunctionOnReturnType>('Runtime.callFunctionOn', {
    objectId: holderId, functionDeclaration: 'function () { return this.value; }', objectGroup: OBJECT_GROUP,
  });
  return post('Runtime.getProperties', { objectId: result.objectId, ownProperties: true });
}

/** The value that the inspector describes. */
function materialize(remote: Runtime.RemoteObject | undefined): unknown {
  if (!remote) return undefined;
  const { objectId, unserializableValue, value } = remote;
  const argument: Runtime.CallArgument = objectId ? { objectId } : unserializableValue ? { unserializableValue } : { value };
  post('Runtime.callFunctionOn', { objectId: holderId, functionDeclaration: 'function (value) { this.value = value; }', arguments: [argument] });
  return holder.value;
}

function readScopes(remote: Runtime.RemoteObject): Scope[] {
  const scopes = materialize(remote) as ArrayLike<{ readonly description: string; readonly object: Scope['variables'] }>;
  return Array.from(scopes, ({ description, object }) => ({ description, variables: object }));
}

function openSession(): void {
  if (session) return;
  const opened = new (process.getBuiltinModule('node:inspector').Session)();
  try {
    opened.connect();
  } catch (error) {
    const detail = 'functions cannot be captured by value, for Node refuses its inspector here (its permission model does)';
    throw makeError('CAPTURE', { detail, path: 'the inspector' }, { cause: error });
  }
  opened.on('Debugger.scriptParsed', ({ params }) => announced?.set(params.scriptId, params));
  session = opened;
  const name = '__muster_holder';
  Object.defineProperty(globalThis, name, { value: holder, configurable: true });
  holderId = post<Runtime.EvaluateReturnType>('Runtime.evaluate', { expression: `globalThis.${name}` }).result.objectId ?? '';
  Reflect.deleteProperty(globalThis, name);
}

function post<Result>(method: string, parameters: object = {}): Result {
  let failure: Error | null = null;
  let answer: object | undefined;
  session?.post(method, parameters, (error, result) => {
    failure = error;
    answer = result;
  });
  if (failure) throw makeError('INTERNAL', { what: `V8's inspector refused ${method}` }, { cause: failure });
  return answer as Result;
}
