/** Trials as runs of an MLflow tracking server, by its REST interface. Source: mlflow.org, "REST API", 2.0. */
import { makeError } from '@muster/base';
import type { ExperimentLogger, ExperimentView } from '../logger.js';
import type { EndRecord, LogRecord, Metrics } from '../machine/records.js';
import type { Json } from '../searcher.js';
import { pathsOf, valueAt } from '../view/summary.js';

/** Where the server is. */
export interface MlflowOptions {
  /** Such as `http://127.0.0.1:5000`. */
  readonly url: string;
  /** Default: the experiment's name. */
  readonly experimentName?: string;
  /** A bearer token, where the server asks for one. */
  readonly token?: string;
}

/** MLflow's own limits for one call of runs/log-batch. */
const BATCH_METRICS_MAX = 1_000;
const PARAMETER_LENGTH_MAX = 6_000;
/** Records wait here while the server is slow; when there are more, it is given up. */
const QUEUE_MAX = 100_000;
const REQUEST_TIMEOUT_MS = 30_000;

/** Sends trials to an MLflow server. Records wait in memory while it answers, so a slow server does not hold trials up. */
export function mlflow(options: MlflowOptions): ExperimentLogger {
  return new Mlflow(options);
}

interface MetricValue {
  readonly key: string;
  readonly value: number;
  readonly timestamp: number;
  readonly step: number;
}

class Mlflow implements ExperimentLogger {
  readonly name = 'mlflow';
  readonly #options: MlflowOptions;
  readonly #runIds = new Map<string, string>();
  readonly #queue: LogRecord[] = [];
  #experimentId = '';
  #view: ExperimentView | null = null;
  #sending: Promise<void> | null = null;
  #failure: unknown = null;

  constructor(options: MlflowOptions) {
    this.#options = options;
  }

  async begin(view: ExperimentView): Promise<void> {
    this.#view = view;
    const name = this.#options.experimentName ?? view.begin.name;
    const found = await this.#call('GET', `experiments/get-by-name?experiment_name=${encodeURIComponent(name)}`);
    const experiment = (found?.['experiment'] ?? null) as { readonly experiment_id: string } | null;
    this.#experimentId = experiment?.experiment_id ?? String((await this.#call('POST', 'experiments/create', { name }))!['experiment_id']);
  }

  record(record: LogRecord): void {
    if (this.#failure) throw this.#failure;
    if (this.#queue.push(record) > QUEUE_MAX) throw makeError('CONNECTION', { what: this.#options.url, cause: `it is ${QUEUE_MAX} records behind` });
    this.#sending ??= this.#send();
  }

  async close(): Promise<void> {
    await this.#sending;
    if (this.#failure) throw this.#failure;
  }

  async #send(): Promise<void> {
    try {
      for (let record = this.#queue.shift(); record; record = this.#queue.shift()) await this.#tell(record);
    } catch (error) {
      this.#failure = error;
    }
    this.#sending = null;
  }

  async #tell(record: LogRecord): Promise<void> {
    if (record.kind === 'report') await this.#metrics(record.id, record.metrics, { step: record.step, atMs: record.atMs });
    else if (record.kind === 'end') await this.#end(record);
  }

  async #end(record: EndRecord): Promise<void> {
    const runId = await this.#runOf(record.id);
    if (this.#view!.table.get(record.id)!.step === 0 && record.metrics) await this.#metrics(record.id, record.metrics, { step: 0, atMs: record.atMs });
    const status = record.status === 'failed' ? 'FAILED' : record.status === 'stopped' ? 'KILLED' : 'FINISHED';
    await this.#call('POST', 'runs/update', { run_id: runId, status, end_time: this.#timeOf(record.atMs) });
    this.#runIds.delete(record.id);
  }

  async #metrics(trialId: string, metrics: Metrics, { step, atMs }: { readonly step: number; readonly atMs: number }): Promise<void> {
    const values = Object.entries(metrics).flatMap(([key, value]): MetricValue[] => (typeof value === 'number' ? [{ key, value, timestamp: this.#timeOf(atMs), step }] : []));
    const runId = await this.#runOf(trialId);
    for (let first = 0; first < values.length; first += BATCH_METRICS_MAX) await this.#call('POST', 'runs/log-batch', { run_id: runId, metrics: values.slice(first, first + BATCH_METRICS_MAX) });
  }

  /** The run of a trial, made with its parameters when it is first spoken of. */
  async #runOf(trialId: string): Promise<string> {
    const known = this.#runIds.get(trialId);
    if (known !== undefined) return known;
    const row = this.#view!.table.get(trialId)!;
    const created = await this.#call('POST', 'runs/create', { experiment_id: this.#experimentId, run_name: `trial-${trialId}`, start_time: this.#timeOf(row.startedAtMs) });
    const runId = (created!['run'] as { readonly info: { readonly run_id: string } }).info.run_id;
    this.#runIds.set(trialId, runId);
    const params = pathsOf([row], ({ config }) => config).map((path) => ({ key: path, value: textOf(valueAt(row.config, path)!).slice(0, PARAMETER_LENGTH_MAX) }));
    await this.#call('POST', 'runs/log-batch', { run_id: runId, params });
    return runId;
  }

  #timeOf(atMs: number): number {
    return this.#view!.begin.startedAt + atMs;
  }

  /** The answer; null: there is no such thing. @throws CONNECTION */
  async #call(method: 'GET' | 'POST', path: string, body?: object): Promise<Readonly<Record<string, unknown>> | null> {
    const { url, token } = this.#options;
    const headers = { 'content-type': 'application/json', ...(token === undefined ? {} : { authorization: `Bearer ${token}` }) };
    try {
      const response = await fetch(`${url.replace(/\/$/, '')}/api/2.0/mlflow/${path}`, { method, headers, body: body ? JSON.stringify(body) : null, signal: AbortSignal.timeout(REQUEST_TIMEOUT_MS) });
      if (response.status === 404 && method === 'GET') return null;
      if (!response.ok) throw new Error(`${path.split('?')[0]} answered ${response.status}: ${(await response.text()).slice(0, 300)}`);
      return (await response.json()) as Readonly<Record<string, unknown>>;
    } catch (cause) {
      throw makeError('CONNECTION', { what: `MLflow at ${url}`, cause: cause instanceof Error ? cause.message : String(cause) }, { cause });
    }
  }
}

const textOf = (value: Json): string => (typeof value === 'string' ? value : JSON.stringify(value));
