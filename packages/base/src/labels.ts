/** What users, head and scheduler agree on about the labels of nodes. */

/** A node's own id counts as its label of this name. */
export const NODE_LABEL = 'node';

/** The most that a node with a label can be preferred. */
export const LABEL_WEIGHT_MAX = 100;
