/**
 * Event files for TensorBoard: a folder for each trial, with its metrics by step, and its parameters for the HParams tab.
 * Source: tensorboard/plugins/hparams/plugin_data.proto.
 */
import { makeFolder } from '@muster/base';
import { join } from 'node:path';
import type { ExperimentLogger, ExperimentView } from '../logger.js';
import type { EndRecord, Metrics, ReportRecord } from '../machine/records.js';
import type { TrialRow } from '../machine/trial-table.js';
import type { Json } from '../searcher.js';
import { pathsOf, valueAt } from '../view/summary.js';
import { EventFile } from './event-file.js';
import { bytesField, doubleField, intField, message } from './protobuf.js';

const PLUGIN = 'hparams';
/** hparams.Status of plugin_data.proto. */
const STATUS = { completed: 1, stopped: 1, failed: 2 } as const;

/** Writes event files below a folder: `tensorboard --logdir FOLDER`. Of a resumed experiment, trials that run again get further files. */
export function tensorboard(folder: string): ExperimentLogger {
  return new TensorBoard(folder);
}

class TensorBoard implements ExperimentLogger {
  readonly name = 'tensorboard';
  readonly #folder: string;
  readonly #files = new Map<string, EventFile>();
  #view: ExperimentView | null = null;

  constructor(folder: string) {
    this.#folder = folder;
  }

  begin(view: ExperimentView): void {
    this.#view = view;
    makeFolder(this.#folder);
  }

  record(record: Parameters<ExperimentLogger['record']>[0]): void {
    if (record.kind === 'report') this.#report(record);
    else if (record.kind === 'end') this.#end(record);
  }

  async close(): Promise<void> {
    for (const file of this.#files.values()) file.close();
    this.#files.clear();
  }

  #report({ id, step, metrics }: ReportRecord): void {
    this.#scalars(this.#fileOf(id), metrics, step);
  }

  #end({ id, status, metrics }: EndRecord): void {
    const file = this.#fileOf(id);
    const row = this.#view!.table.get(id)!;
    if (row.step === 0 && metrics) this.#scalars(file, metrics, 0);
    file.value('_hparams_/session_end_info', { step: 0, metadata: metadataOf(message(bytesField(4, message(intField(1, STATUS[status]), doubleField(2, Date.now() / 1000))))) });
    file.close();
    this.#files.delete(id);
  }

  #scalars(file: EventFile, metrics: Metrics, step: number): void {
    for (const [name, value] of Object.entries(metrics)) if (typeof value === 'number') file.value(name, { value, step });
  }

  /** A trial's file, which says first what its parameters are. */
  #fileOf(id: string): EventFile {
    const known = this.#files.get(id);
    if (known) return known;
    const folder = join(this.#folder, `trial-${id}`);
    makeFolder(folder);
    const file = new EventFile(join(folder, `events.out.tfevents.${Date.now()}.${process.pid}.muster`));
    const row = this.#view!.table.get(id)!;
    const startInfo = message(...pathsOf([row], ({ config }) => config).map((path) => bytesField(1, mapEntry(path, valueAt(row.config, path)!))), bytesField(4, `trial ${id}`), doubleField(5, startedAt(this.#view!, row) / 1000));
    file.value('_hparams_/session_start_info', { step: 0, metadata: metadataOf(message(bytesField(3, startInfo))) });
    this.#files.set(id, file);
    return file;
  }
}

const startedAt = ({ begin }: ExperimentView, row: TrialRow): number => begin.startedAt + row.startedAtMs;

/** SummaryMetadata of the HParams plugin; its data's version is 0, which is not written. */
const metadataOf = (content: Buffer): Buffer => bytesField(1, message(bytesField(1, PLUGIN), bytesField(2, content)));

/** An entry of map<string, google.protobuf.Value>. */
function mapEntry(key: string, value: Json): Buffer {
  const form = typeof value === 'number' ? doubleField(2, value) : typeof value === 'boolean' ? intField(4, Number(value)) : bytesField(3, typeof value === 'string' ? value : JSON.stringify(value));
  return message(bytesField(1, key), bytesField(2, form));
}
