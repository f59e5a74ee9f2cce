/** Where the program of a worker process lies. */
import { fileURLToPath } from 'node:url';

/** The main module of @muster/worker, as a path. */
export const WORKER_ENTRY = fileURLToPath(import.meta.resolve('@muster/worker/main'));
