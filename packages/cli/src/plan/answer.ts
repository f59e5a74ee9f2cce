/** What `cluster plan` answers. The JSON is a contract for programs such as autoscalers; docs/answers.md describes it. */
import { formatResources, wholeAmount, type ResourceSet } from '@muster/base';
import { formatGroup, formatTerm, suggestNodes, WhatIf, type Cluster, type NodeType, type Outcome, type PlacementRequest, type WantedGroups, type WantedTasks } from '@muster/scheduler';
import type { NodeCount } from './node-counts.js';

/** Everything that a plan is made of. */
export interface PlanQuestion {
  readonly cluster: Cluster;
  readonly tasks: readonly (WantedTasks & { readonly name: string })[];
  readonly groups: readonly (WantedGroups & { readonly name: string })[];
  readonly addNodes: readonly NodeCount[];
  /** Null: suggest nothing. */
  readonly suggestOf: readonly NodeType[] | null;
}

/** The answer. Amounts of resources are in whole units (`memory` in bytes). */
export interface PlanAnswer {
  /** Everything would be placed. */
  readonly isComplete: boolean;
  readonly tasks: readonly PlannedTasks[];
  readonly groups: readonly PlannedGroups[];
  /** Those of the cluster, and those that `--add-nodes` added, in their order. */
  readonly nodes: { readonly existing: number; readonly added: readonly AddedNodes[] };
  /** Null without `--suggest`. */
  readonly suggestion: SuggestedNodes | null;
}

interface Planned {
  readonly name: string;
  /** For people: `1 cpu where zone=a`, `8 × (1 gpu) on one node`. */
  readonly request: string;
  readonly count: number;
  readonly placed: number;
  /** Whether one more could be placed if nothing else ran. True when all are placed. */
  readonly isFeasible: boolean;
  /** Why the others are not placed; empty when all are. */
  readonly reasons: string;
}

export interface PlannedTasks extends Planned {
  /** How many of them each node would run. */
  readonly nodes: Readonly<Record<string, number>>;
}

export interface PlannedGroups extends Planned {
  /** Of each placed group: the nodes of its bundles, in their order. */
  readonly nodes: readonly (readonly string[])[];
}

/** Nodes of one type that were added. */
export interface AddedNodes {
  readonly type: string;
  readonly total: Readonly<Record<string, number>>;
  readonly labels: Readonly<Record<string, string>>;
  readonly nodeIds: readonly string[];
  /** On how many of them something would be placed. */
  readonly used: number;
}

/** What to add so that everything is placed. */
export interface SuggestedNodes {
  readonly nodes: readonly { readonly type: string; readonly count: number }[];
  /** With these nodes everything would be placed. Else some of it fits no type that was given. */
  readonly isComplete: boolean;
}

/** Plans on copies: the cluster is left alone. */
export function answerPlan({ cluster, tasks, groups, addNodes, suggestOf }: PlanQuestion): PlanAnswer {
  const trial = new WhatIf(cluster);
  const added = addNodes.map(({ type, count }) => ({ type, nodeIds: trial.add(type, count) }));
  const suggestion = suggestOf === null ? null : suggestNodes(trial.cluster, { groups, tasks }, suggestOf);
  const plan = trial.plan({ groups, tasks });
  const used = new Set([...plan.groups, ...plan.tasks].flatMap(({ nodeIds }) => nodeIds.flat()));
  return {
    isComplete: [...groups, ...tasks].every(({ count }, index) => count === [...plan.groups, ...plan.tasks][index]!.placed),
    tasks: tasks.map((wanted, index): PlannedTasks => ({ ...planned(wanted, describe(wanted.request), plan.tasks[index]!), nodes: countEach(plan.tasks[index]!.nodeIds) })),
    groups: groups.map((wanted, index): PlannedGroups => ({ ...planned(wanted, formatGroup(wanted.request), plan.groups[index]!), nodes: plan.groups[index]!.nodeIds })),
    nodes: {
      existing: cluster.size,
      added: added.map(({ type, nodeIds }) => ({ type: type.name, total: amounts(type.total), labels: type.labels, nodeIds, used: nodeIds.filter((nodeId) => used.has(nodeId)).length })),
    },
    suggestion: suggestion && { nodes: [...suggestion.nodes].map(([type, count]) => ({ type: type.name, count })), isComplete: suggestion.isComplete },
  };
}

function planned({ name, count }: { readonly name: string; readonly count: number }, request: string, { placed, isFeasible, reasons }: Outcome): Planned {
  return { name, request, count, placed, isFeasible, reasons };
}

function describe({ resources, labels }: PlacementRequest): string {
  const terms = labels.map((term) => (term.weight > 0 ? `preferably ${formatTerm(term)}` : formatTerm(term)));
  return [formatResources(resources), ...(terms.length === 0 ? [] : [`where ${terms.join(', ')}`])].join(' ');
}

function countEach(nodeIds: Outcome['nodeIds']): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const [nodeId] of nodeIds) counts[nodeId!] = (counts[nodeId!] ?? 0) + 1;
  return counts;
}

const amounts = (set: ResourceSet): Record<string, number> => Object.fromEntries(Object.entries(set).map(([name, fixed]) => [name, wholeAmount(name, fixed)]));
