/** What every part of the head's machine shares: the time of this step, fresh ids, the settings, and the way out. */
import type { MusterError, Random } from '@muster/base';
import type { HeadToClient, HeadToNode, QueryReply } from '@muster/protocol';
import type { HeadEffect } from './messages.js';
import type { QueueRules } from './queues.js';

/** Fixed for the life of a cluster. */
export interface HeadSettings {
  readonly clusterId: string;
  readonly heartbeatIntervalMs: number;
  readonly nodeTimeoutMs: number;
  /** How long demands wait for a node like one that was lost before they are infeasible. */
  readonly lostNodeGraceMs: number;
  /** How a program on the head's machine reaches the head: `unix:/path` or `host:port`. */
  readonly address: string;
  /** Where that program finds the token. */
  readonly tokenFile: string;
  /** As they were set up; none: there is the default alone. */
  readonly queues: readonly QueueRules[];
}

/** One per machine; every part writes its effects here. */
export class HeadContext {
  readonly settings: HeadSettings;
  readonly random: Random;
  /** The time of the event that is being worked on. */
  nowMs: number;
  readonly startedAtMs: number;
  #effects: HeadEffect[] = [];

  constructor(settings: HeadSettings, random: Random, nowMs: number) {
    this.settings = settings;
    this.random = random;
    this.nowMs = nowMs;
    this.startedAtMs = nowMs;
  }

  sendToNode(stream: number, message: HeadToNode): void {
    this.#effects.push({ type: 'sendToNode', stream, message });
  }

  sendToClient(stream: number, message: HeadToClient): void {
    this.#effects.push({ type: 'sendToClient', stream, message });
  }

  closeNode(stream: number, failure: MusterError | null): void {
    this.#effects.push({ type: 'closeNode', stream, failure });
  }

  closeClient(stream: number, failure: MusterError | null): void {
    this.#effects.push({ type: 'closeClient', stream, failure });
  }

  answer(queryId: number, reply: QueryReply): void {
    this.#effects.push({ type: 'answerQuery', queryId, reply });
  }

  log(level: 'info' | 'warn', event: string, fields: Readonly<Record<string, unknown>>): void {
    this.#effects.push({ type: 'log', level, event, fields });
  }

  stop(reason: string): void {
    this.#effects.push({ type: 'stop', reason });
  }

  /** The effects since the last call, in order. */
  takeEffects(): HeadEffect[] {
    const effects = this.#effects;
    this.#effects = [];
    return effects;
  }
}
