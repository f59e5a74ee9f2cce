/** A rule that the cluster broke. */
export class Violation extends Error {}
