/** The no-op task, in Piscina's threads. */
export default (value) => value;
