/**
 * Runs simulations from the command line, one seed or many:
 *
 *     node packages/sim/dist/run.js --scenario tasks/workers --seed 7 --trace
 *     node packages/sim/dist/run.js --seeds 100            all scenarios, seeds 1 to 100
 */
import { parseArgs } from 'node:util';
import { findScenario, replayCommand, SCENARIOS } from './scenarios.js';
import { simulate } from './scenario.js';

const { values } = parseArgs({
  options: {
    scenario: { type: 'string' },
    seed: { type: 'string' },
    seeds: { type: 'string', default: '10' },
    trace: { type: 'boolean', default: false },
  },
});

const scenarios = values.scenario ? findScenario(values.scenario) : SCENARIOS;
const seeds = values.seed ? [Number(values.seed)] : Array.from({ length: Number(values.seeds) }, (_, index) => index + 1);
let failures = 0;
for (const { name, workload, faults } of scenarios) {
  for (const seed of seeds) {
    const startMs = performance.now();
    const verdict = simulate(workload, faults, seed, values.trace ? (line) => process.stdout.write(`${line}\n`) : null);
    const took = `${(verdict.virtualMs / 1000).toFixed(1)} s, ${verdict.lineCount} events in ${(performance.now() - startMs).toFixed(0)} ms, ${verdict.hash}`;
    if (!verdict.failure) {
      if (values.seed) console.log(`${name} ${seed}: ${took}`);
      continue;
    }
    failures++;
    console.log(`${name} ${seed}: ${verdict.failure.stack}\n    ${took}\n    ${replayCommand(name, seed)}`);
  }
}
console.log(`${scenarios.length * seeds.length} simulations, ${failures} failed`);
process.exitCode = failures > 0 ? 1 : 0;
