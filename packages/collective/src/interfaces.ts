/** Which of this machine's addresses the other nodes are to connect to. */
import { lookup } from 'node:dns/promises';
import { BlockList, isIP } from 'node:net';
import { networkInterfaces, type NetworkInterfaceInfo } from 'node:os';
import { invalid } from './elements.js';

const CIDR = /^([\d.]+|[\da-fA-F:]+)\/(\d{1,3})$/;

/**
 * The numeric address that is listened on and told to the others: the first that one of `interfaces` names, or else the node's own.
 * @param interfaces names such as 'eth0', or networks such as '10.0.0.0/8'
 * @param nodeHost by which the node is reached, as it talks to the head
 * @throws MusterError INVALID_ARGUMENT
 */
export async function ownAddress(interfaces: readonly string[] | undefined, nodeHost: string): Promise<string> {
  if (interfaces === undefined) {
    if (nodeHost === '') throw invalid('a gang on several nodes', 'of a cluster whose nodes listen on the network');
    return isIP(nodeHost) ? nodeHost : (await lookup(nodeHost)).address;
  }
  const own = networkInterfaces();
  for (const wanted of interfaces) {
    const address = CIDR.test(wanted) ? inNetwork(wanted, Object.values(own).flat()) : own[wanted]?.find(isUsable)?.address;
    if (address !== undefined) return address;
  }
  throw invalid(`interfaces of ${JSON.stringify(interfaces)}`, `names or networks of this machine's, which are ${Object.keys(own).join(', ')}`);
}

/** Those of a link alone have no meaning without its name. */
const isUsable = ({ address }: NetworkInterfaceInfo): boolean => !address.startsWith('fe80:');

function inNetwork(cidr: string, addresses: readonly (NetworkInterfaceInfo | undefined)[]): string | undefined {
  const [, network = '', bits = ''] = CIDR.exec(cidr)!;
  const family = isIP(network) === 6 ? 'ipv6' : 'ipv4';
  if (isIP(network) === 0 || Number(bits) > (family === 'ipv6' ? 128 : 32)) throw invalid(`the network '${cidr}'`, "an address and a number of bits, such as '10.0.0.0/8'");
  const list = new BlockList();
  list.addSubnet(network, Number(bits), family);
  return addresses.find((each) => each !== undefined && isUsable(each) && each.family.toLowerCase() === family && list.check(each.address, family))?.address;
}
