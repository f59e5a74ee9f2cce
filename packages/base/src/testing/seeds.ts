/** For tests of the same thing from many seeds. */

/** Runs a life from each seed from 1 to `count`, or, when SEED is set, from that one alone. @throws what a life throws, with its seed in front */
export function forEachSeed(count: number, live: (seed: number) => void): void {
  const only = process.env['SEED'];
  for (let seed = 1; seed <= count; seed++) {
    if (only && seed !== Number(only)) continue;
    try {
      live(seed);
    } catch (error) {
      throw new Error(`SEED=${seed}: ${(error as Error).message}`, { cause: error });
    }
  }
}
