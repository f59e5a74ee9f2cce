/** The functions and actor classes of a simulated program, by name: what closures and classes are to a real one. */
import type { CodeContext } from './code-context.js';
import type { Program } from './program.js';

/** A remote function. */
export type SimFunction = (code: CodeContext, ...args: never[]) => Program;

/** A method takes the actor's state, which its constructor made. */
export type SimMethod = (code: CodeContext, state: never, ...args: never[]) => Program;

/** An actor class. */
export interface SimClass {
  readonly construct: SimFunction;
  /** In the order of their numbers. */
  readonly methods: Readonly<Record<string, SimMethod>>;
  /** Of members of gangs: takes over the state of a checkpoint, after the constructor. */
  readonly restore?: (state: never, saved: never) => void;
}

/** All that the programs of a simulation can call. */
export interface Library {
  readonly functions: Readonly<Record<string, SimFunction>>;
  readonly classes: Readonly<Record<string, SimClass>>;
}
