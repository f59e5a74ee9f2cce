/** What the head asks a node about printed output, and what the node answers: JSON in NodeQuery and NodeReply. */

/** Where to go on, by the log's id: bytes since its process began. */
export type LogOffsets = Readonly<Record<string, number>>;

/** Asks for the output of a worker, a submitted program, an actor or a job. */
export interface LogsQuestion {
  readonly id: string;
  /** A log that is not named is read from its beginning. Null: of each log, the last part. */
  readonly from: LogOffsets | null;
  /** Of the answer's texts together, or a little more. */
  readonly sizeMaxBytes: number;
}

/** Whole lines of one process's output. */
export interface LogPart {
  /** The id of the worker or the submitted program. */
  readonly logId: string;
  readonly text: string;
  /** Where the text ends: from there the next part begins. */
  readonly endOffset: number;
}
