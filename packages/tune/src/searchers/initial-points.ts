/** Configurations that are tried before a searcher is asked: what is known to work, or the defaults. The searcher learns from them. */
import { makeError } from '@muster/base';
import type { Json, Searcher, SearcherDefinition } from '../searcher.js';

/**
 * A searcher that tries these configurations first.
 * @throws InvalidArgumentError when it is created, where one is not of the space
 */
export function withInitialPoints(searcher: SearcherDefinition, configs: readonly unknown[]): SearcherDefinition {
  return {
    ...searcher,
    create: (context, state) => {
      configs.forEach((config, index) => {
        try {
          context.space.pointOf(config);
        } catch (cause) {
          throw makeError('INVALID_ARGUMENT', { what: `initial point ${index}`, want: `one of the search space: ${(cause as Error).message}` }, { cause });
        }
      });
      if (state === undefined) return new InitialPoints(searcher.create(context), configs, []);
      const { given, inner } = state as { given: string[]; inner: Json };
      return new InitialPoints(searcher.create(context, inner), configs, given);
    },
  };
}

class InitialPoints implements Searcher {
  readonly #inner: Searcher;
  readonly #configs: readonly unknown[];
  /** The ids of the trials that got them, in their order. */
  readonly #given: string[];

  constructor(inner: Searcher, configs: readonly unknown[], given: readonly string[]) {
    this.#inner = inner;
    this.#configs = configs;
    this.#given = [...given];
  }

  suggest(trialId: string): ReturnType<Searcher['suggest']> {
    const known = this.#given.indexOf(trialId);
    const index = known === -1 ? this.#given.length : known;
    if (index >= this.#configs.length) return this.#inner.suggest(trialId);
    if (known === -1) {
      this.#given.push(trialId);
      this.#inner.adopt(trialId, this.#configs[index]);
    }
    return { kind: 'trial', config: this.#configs[index], reason: `initial point ${index + 1} of ${this.#configs.length}` };
  }

  adopt: Searcher['adopt'] = (trialId, config) => this.#inner.adopt(trialId, config);
  report: Searcher['report'] = (report) => this.#inner.report(report);
  end: Searcher['end'] = (end) => this.#inner.end(end);

  state(): Json {
    return { given: [...this.#given], inner: this.#inner.state() };
  }
}
