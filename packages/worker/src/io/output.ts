/** Marks in this worker's output who prints, so that the driver can say so. The daemon takes the marks out. */

/** Starts a control line that names what prints from here on. */
const MARK = '\u0001muster-name:';

/** Watches stdout and stderr; `nameNow` tells who prints. A mark is written only before output of something new. */
export function markOutput(nameNow: () => string): void {
  for (const stream of [process.stdout, process.stderr]) {
    let marked = '';
    const write = stream.write.bind(stream) as (...args: unknown[]) => boolean;
    stream.write = ((...args: unknown[]) => {
      const name = nameNow();
      if (marked !== name) {
        marked = name;
        write(`${MARK}${name}\n`);
      }
      return write(...args);
    }) as typeof stream.write;
  }
}
