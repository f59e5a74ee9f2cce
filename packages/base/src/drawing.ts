/** Something that is drawn on a terminal over and over, while others write there, too. */
import type { WriteStream } from 'node:tty';

export type TerminalStream = NodeJS.WritableStream & Partial<Pick<WriteStream, 'isTTY' | 'columns' | 'rows'>>;

export interface Drawing {
  /** Writes what is drawn itself. */
  draw(text: string): void;
  /** From here on nobody is told. */
  leave(): void;
}

/** Has `makeWay` called before anybody else writes to the terminal, with what they write: to take away what is drawn. It comes back below with the next drawing. */
export function drawOn(stream: TerminalStream, makeWay: (chunk: string | Uint8Array) => void): Drawing {
  const streams = [...new Set<TerminalStream>([stream, process.stdout, process.stderr])].filter(({ isTTY }) => isTTY);
  let isDrawing = false;
  let isOver = false;
  const restores = streams.map((each) => {
    const write = each.write;
    const watched = ((...args: Parameters<typeof write>): boolean => {
      if (!isOver && !isDrawing && args[0].length > 0) makeWay(args[0]);
      return write.apply(each, args);
    }) as typeof write;
    each.write = watched;
    return () => { if (each.write === watched) each.write = write; }; // somebody else may have put something over it since
  });
  return {
    draw(text) {
      isDrawing = true;
      stream.write(text);
      isDrawing = false;
    },
    leave() {
      isOver = true;
      for (const restore of restores) restore();
    },
  };
}

/** Whether what was written last leaves its line open. */
export const leavesLineOpen = (chunk: string | Uint8Array): boolean => !['\n', 0x0a].includes(chunk.at(-1)!);
