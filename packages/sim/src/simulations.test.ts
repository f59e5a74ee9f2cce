/**
 * Every workload with every mixture of faults, from several seeds each; each seed runs twice and must take the same course. A failure prints
 * the command that replays it. MUSTER_SEEDS runs more of them.
 */
import t from 'tap';
import { replayCommand, SCENARIOS } from './scenarios.js';
import { simulate } from './scenario.js';

const SEEDS = Number(process.env['MUSTER_SEEDS'] ?? 8);

for (const { name, workload, faults } of SCENARIOS) {
  t.test(name, async (t) => {
    for (let seed = 1; seed <= SEEDS; seed++) {
      const { failure, hash } = simulate(workload, faults, seed);
      const again = simulate(workload, faults, seed);
      if (failure) t.fail(`${failure.message}; see ${replayCommand(name, seed)}`, { found: failure.stack });
      if (again.hash !== hash) t.fail(`its second run took another course; see ${replayCommand(name, seed)}`);
    }
    t.pass(`seeds 1 to ${SEEDS}`);
  });
}
