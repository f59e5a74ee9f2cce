/**
 * Published traces of GPU clusters as lists of tasks. What each form's columns mean stands in docs/simulation.md with its source. Rows that never
 * ran, or whose times are missing, are left out and counted.
 */
import { makeError } from '@muster/base';

/** The forms that can be read. */
export const TRACE_FORMS = ['alibaba-gpu-2020', 'alibaba-gpu-2023', 'philly'] as const;
export type TraceForm = (typeof TRACE_FORMS)[number];

/** Some equal tasks that arrive together. */
export interface TraceRow {
  readonly arrivalS: number;
  readonly durationS: number;
  readonly cpus: number;
  readonly gpus: number;
  readonly memoryMib: number;
  readonly instances: number;
}

/** What a file holds. */
export interface TraceFile {
  /** In the order of their arrival. */
  readonly rows: readonly TraceRow[];
  readonly skipped: number;
}

/** Of Philly, which tells of no cpus: its machines had some for each GPU. */
const PHILLY_CPUS_PER_GPU = 4;

/** Reads a trace. @throws MusterError INVALID_ARGUMENT for a file that has not this form */
export function readTrace(fileName: string, text: string, form: TraceForm): TraceFile {
  const found = form === 'philly' ? readPhilly(fileName, text) : readCsv(fileName, text, form);
  const rows = found.filter((row): row is TraceRow => row !== null).sort((a, b) => a.arrivalS - b.arrivalS);
  return { rows, skipped: found.length - rows.length };
}

/** A row by the names of its columns. Returns null for one that cannot be run again. */
type RowReader = (column: (name: string) => string) => TraceRow | null;

const CSV_FORMS: Readonly<Record<Exclude<TraceForm, 'philly'>, { readonly columns: readonly string[]; readonly row: RowReader }>> = {
  /** `pai_task_table`: amounts in percent, memory in GB, times in seconds. The published file has no first line with names. */
  'alibaba-gpu-2020': {
    columns: ['job_name', 'task_name', 'inst_num', 'status', 'start_time', 'end_time', 'plan_cpu', 'plan_mem', 'plan_gpu', 'gpu_type'],
    row: (column) => rowOf({
      start: column('start_time'), end: column('end_time'), cpus: amount(column('plan_cpu')) / 100, gpus: amount(column('plan_gpu')) / 100,
      memoryMib: amount(column('plan_mem')) * (1e9 / 2 ** 20), instances: amount(column('inst_num')) || 1,
    }),
  },
  /** `openb_pod_list_*`: thousandths, MiB, seconds. A share of a GPU only where there is one GPU. */
  'alibaba-gpu-2023': {
    columns: ['name', 'cpu_milli', 'memory_mib', 'num_gpu', 'gpu_milli', 'gpu_spec', 'qos', 'pod_phase', 'creation_time', 'deletion_time', 'scheduled_time'],
    row: (column) => {
      const count = amount(column('num_gpu'));
      const gpus = count === 1 ? amount(column('gpu_milli')) / 1000 || 1 : count;
      return rowOf({ start: column('creation_time'), end: column('deletion_time'), ran: column('scheduled_time'), cpus: amount(column('cpu_milli')) / 1000, gpus, memoryMib: amount(column('memory_mib')), instances: 1 });
    },
  },
};

function readCsv(fileName: string, text: string, form: Exclude<TraceForm, 'philly'>): (TraceRow | null)[] {
  const { columns, row } = CSV_FORMS[form];
  const lines = text.split('\n').map((line) => line.trimEnd()).filter((line) => line !== '' && !line.startsWith('#'));
  const first = lines[0]?.split(',') ?? [];
  const hasNames = first.includes(columns[0]!) && first.includes(columns[1]!);
  const names = hasNames ? first : columns;
  const missing = columns.filter((name) => !names.includes(name));
  if (missing.length > 0) throw makeError('INVALID_ARGUMENT', { what: `${fileName} without the column${missing.length > 1 ? 's' : ''} ${missing.join(', ')}`, want: `a file with the columns ${columns.join(', ')}` });
  return lines.slice(hasNames ? 1 : 0).map((line, index) => {
    const cells = line.split(',');
    if (cells.length < columns.length) throw makeError('INVALID_ARGUMENT', { what: `${fileName}, row ${index + 1} with ${cells.length} cells`, want: `a row with the columns ${columns.join(', ')}` });
    return row((name) => cells[names.indexOf(name)]!);
  });
}

/** An empty cell is nothing. */
const amount = (cell: string): number => Number(cell) || 0;

interface RowParts extends Omit<TraceRow, 'arrivalS' | 'durationS'> {
  readonly start: string;
  readonly end: string;
  /** When it ran first, where the trace tells that from its arrival. */
  readonly ran?: string;
}

function rowOf({ start, end, ran = start, cpus, gpus, memoryMib, instances }: RowParts): TraceRow | null {
  const durationS = Number(end) - Number(ran);
  if (start === '' || end === '' || ran === '' || !(durationS > 0)) return null;
  return { arrivalS: Number(start), durationS, cpus, gpus, memoryMib, instances };
}

/** One entry of `cluster_job_log`. */
interface PhillyJob {
  readonly submitted_time: string;
  readonly attempts: readonly { readonly start_time: string | null; readonly end_time: string | null; readonly detail: readonly { readonly gpus: readonly string[] }[] }[];
}

/** `cluster_job_log`: one task for each machine of a job's last attempt, as long as all of its attempts together. */
function readPhilly(fileName: string, text: string): (TraceRow | null)[] {
  let jobs: unknown;
  try {
    jobs = JSON.parse(text);
  } catch (error) {
    throw makeError('INVALID_ARGUMENT', { what: `${fileName} (${(error as Error).message})`, want: 'the JSON of a cluster_job_log' });
  }
  if (!Array.isArray(jobs)) throw makeError('INVALID_ARGUMENT', { what: fileName, want: 'a list of jobs, as cluster_job_log is one' });
  return (jobs as readonly PhillyJob[]).flatMap(({ submitted_time, attempts = [] }): (TraceRow | null)[] => {
    const durationS = attempts.reduce((sum, { start_time, end_time }) => sum + Math.max(0, secondsOf(end_time) - secondsOf(start_time) || 0), 0);
    const arrivalS = secondsOf(submitted_time);
    const machines = attempts.at(-1)?.detail ?? [];
    if (!(durationS > 0) || Number.isNaN(arrivalS) || machines.length === 0) return [null];
    return machines.map(({ gpus }) => ({ arrivalS, durationS, cpus: gpus.length * PHILLY_CPUS_PER_GPU, gpus: gpus.length, memoryMib: 0, instances: 1 }));
  });
}

/** NaN when there is none. */
const secondsOf = (time: string | null): number => (time ? Date.parse(`${time.replace(' ', 'T')}Z`) / 1000 : NaN);
