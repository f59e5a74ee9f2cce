/** The no-op task, in workerpool's threads. */
import workerpool from 'workerpool';

workerpool.worker({ echo: (value) => value });
