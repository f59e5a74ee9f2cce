/** What `tune()` is given: impossible options are refused by name before anything is started. */
import t from 'tap';
import { asha, bohb, progress, tpe, uniform, type Space, type TuneOptions } from './index.js';
import { resolveOptions } from './options.js';

const GOOD = { space: { x: uniform(0, 1) }, metric: 'loss' };
const resolve = (options: object): unknown => resolveOptions(options as TuneOptions<Space>, false);

t.test('what is left out is resolved', async (t) => {
  t.match(resolve({ ...GOOD, storage: '/tmp/runs/first' }), { name: 'first', seed: 0, retries: 3, maxConcurrent: null, resume: false, budget: { trials: 10, timeMs: Infinity, cost: null, plateau: null } });
  t.match(resolve({ ...GOOD, timeBudgetMs: 5 }), { name: 'experiment', budget: { trials: Infinity, timeMs: 5 } });
  t.match(resolve({ ...GOOD, plateau: { trials: 3 } }), { budget: { trials: Infinity, plateau: { trials: 3, least: 0 } } });
});

const REFUSED: Readonly<Record<string, readonly [options: object, message: RegExp]>> = {
  'an option that there is not': [{ trial: 3 }, /the option 'trial' of tune\(\).*one of space, constraints/],
  'no metric': [{ metric: undefined }, /metric .*the name of one metric/],
  'a metric and objectives': [{ objectives: [{ metric: 'a', mode: 'min' }] }, /metric/],
  'an objective that is none': [{ metric: undefined, objectives: [null] }, /the objective null/],
  'an objective without a mode': [{ metric: undefined, objectives: [{ metric: 'a' }] }, /mode: undefined/],
  'one metric in two objectives': [{ metric: undefined, objectives: [{ metric: 'a', mode: 'min' }, { metric: 'a', mode: 'max' }] }, /the metric 'a' in two objectives/],
  'a mode beside objectives': [{ metric: undefined, mode: 'max', objectives: [{ metric: 'a', mode: 'min' }] }, /mode with objectives/],
  'a searcher that was not called': [{ searcher: tpe }, /searcher: a function .*made by a call such as tpe\(\)/],
  'a searcher by its name': [{ searcher: 'tpe' }, /searcher: tpe /],
  'bohb as a scheduler': [{ scheduler: bohb({ maxEpochs: 3 }) }, /scheduler: .*spread into the options: \{ \.\.\.bohb/],
  'a scheduler that was not called': [{ scheduler: asha }, /scheduler: a function .*asha\(\{ maxEpochs: 81 \}\)/],
  'one logger': [{ loggers: progress() }, /loggers .*a list of loggers/],
  'loggers that are none': [{ loggers: [{}] }, /loggers .*a list of loggers/],
  'one constraint': [{ constraints: () => true }, /constraints .*a list of functions/],
  'one initial point': [{ initialPoints: { x: 0.5 } }, /initialPoints .*a list of configurations/],
  'no trials': [{ trials: 0 }, /trials: 0 .*from 1 to/],
  'trials that are no number': [{ trials: Number.NaN }, /trials: NaN/],
  'a time without end': [{ timeBudgetMs: 1e12 }, /timeBudgetMs: 1000000000000 .*at most 2147483647, which is 24 days/],
  'a cost without a metric': [{ costBudget: { most: 3 } }, /costBudget\.metric: undefined/],
  'a plateau that is a number': [{ plateau: 5 }, /what plateau is given, 5/],
  'a plateau with a text': [{ plateau: { trials: 3, least: 'x' } }, /plateau\.least .*at least 0, not x/],
  'a signal that is none': [{ signal: {} }, /signal: .*AbortController/],
  'a name that is none': [{ name: 7 }, /name: 7/],
  'resources of other names': [{ resources: { cpu: 1 } }, /the option 'cpu' of resources.*one of cpus/],
  'a gang of other names': [{ gang: { sizes: 2 } }, /the option 'sizes' of gang/],
  'a gang with a placement': [{ gang: { size: 2 }, resources: { placement: 'spread' } }, /placement with gang/],
  'a folder that is a number': [{ storage: 3 }, /storage .*the path of a folder/],
  'an answer that is none': [{ resume: 'no', storage: '/tmp/runs/first' }, /resume: 'no' .*true or false/],
  'a number as a text': [{ trials: '3' }, /trials: '3' .*a whole number/],
  'to go on without a folder': [{ resume: true }, /resume without storage/],
};
for (const [what, [options, message]] of Object.entries(REFUSED)) t.test(`refused: ${what}`, async (t) => t.throws(() => resolve({ ...GOOD, ...options }), { code: 'INVALID_ARGUMENT', message }));
