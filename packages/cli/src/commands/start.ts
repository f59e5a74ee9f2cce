/** `cluster start`: in the background, or for as long as this process lives. */
import { resolve } from 'node:path';
import { formatResources } from '@muster/base';
import type { Command } from 'commander';
import { formatAddress, isWildcard, parseAddress } from '../cluster/address.js';
import { findCluster, readToken } from '../cluster/connection.js';
import { asUsage } from '../output/failure.js';
import { formatFields } from '../output/table.js';
import type { ReadyNode } from '../node/run-node.js';
import { START_OPTIONS, readStartValues, startArguments, type NodeSettings, type StartValues } from '../node/start-options.js';
import { collect, printJson, printText, withExamples } from './cluster-options.js';

interface Presentation {
  readonly foreground?: boolean;
  readonly block?: boolean;
  readonly json?: boolean;
}

export function define(command: Command): void {
  for (const [name, option] of Object.entries(START_OPTIONS)) {
    if ('isHidden' in option) continue;
    const flags = 'value' in option ? `--${name} <${option.value}>` : `--${name}`;
    if ('multiple' in option) command.option(flags, option.description, collect);
    else command.option(flags, option.description);
  }
  command
    .option('--foreground', 'stay until Ctrl-C, which stops the node (also --block)')
    .addOption(command.createOption('--block').hideHelp())
    .option('--json', 'print what was started as JSON')
    .action((options: Record<string, unknown> & Presentation) => start(valuesOf(options), options));
  withExamples(command, 'cluster start --head', 'cluster start --head --port 6380 --host 10.0.0.5 --cpus 0', 'cluster start --address 10.0.0.5:6380 --token-file ./token --labels zone=a');
}

/** The command line's names for options are in camel case. */
function valuesOf(options: Readonly<Record<string, unknown>>): StartValues {
  const entries = Object.keys(START_OPTIONS).map((name) => [name, options[name.replace(/-(\w)/g, (_, letter: string) => letter.toUpperCase())]]);
  return Object.fromEntries(entries.filter(([, value]) => value !== undefined)) as StartValues;
}

async function start(values: StartValues, { foreground, block, json }: Presentation): Promise<void> {
  const settings = asUsage('start', () => readStartValues(values));
  const token = await tokenToJoin(settings, values['token-file']);
  const show = (node: ReadyNode, stops: string): void => (json ? printJson({ address: node.headTarget, isHead: settings.role.kind === 'head', ...node }) : printText(describe(node, settings, stops)));
  if (!foreground && !block) {
    const { startInBackground } = await import('../node/background.js');
    return show(await startInBackground(startArguments(values), token), '`cluster stop`');
  }
  const [{ runNode }, { stopOn }] = await Promise.all([import('../node/run-node.js'), import('../node/node-process.js')]);
  const node = await runNode(settings, { token });
  show(node.ready, 'Ctrl-C');
  stopOn(node, ['SIGINT', 'SIGTERM', 'SIGHUP']);
  const reason = await node.closed;
  if (!json) printText(`${node.ready.nodeId} has stopped: ${reason}.`);
  process.exit(0);
}

/** A new cluster makes its own token. */
async function tokenToJoin({ role }: NodeSettings, tokenFile: string | undefined): Promise<string | undefined> {
  if (role.kind === 'head') return undefined;
  const cluster = await findCluster({ address: role.headAddress, tokenFile: tokenFile === undefined ? undefined : resolve(tokenFile) });
  return readToken(cluster.tokenFile);
}

function describe(node: ReadyNode, { role, resources }: NodeSettings, stops: string): string {
  const offers = formatResources(resources);
  const heading = role.kind === 'head' ? `Started a cluster at ${node.headTarget}.` : `Started a node of the cluster at ${node.headTarget}.`;
  const fields = formatFields([['node', node.nodeId], ['offers', offers], ['token', node.tokenFile], ['log', node.logFile]]);
  const next: (readonly [string, string])[] = role.kind === 'head'
    ? [
        ['run a program', 'cluster submit -- node app.ts'],
        ['add a machine', joinCommand(node, role.listen?.host)],
        ['look', 'cluster status'],
      ]
    : [['look', 'cluster status']];
  return [heading, '', indent(fields), '', 'Next:', indent(formatFields([...next, ['stop', stops.replaceAll('`', '')]]))].join('\n');
}

/** What to type on another machine, if the cluster can be reached from there. */
function joinCommand(node: ReadyNode, host: string | undefined): string {
  if (host === undefined || /^(127\.|localhost$|::1$)/.test(host)) return 'start with --host and an address that other machines can reach';
  const { port } = parseAddress(node.headTarget);
  return `cluster start --address ${isWildcard(host) ? `THIS_MACHINE:${port}` : formatAddress({ host, port })} --token-file COPY_OF_THE_TOKEN`;
}

const indent = (text: string): string => text.replace(/^/gm, '  ');
