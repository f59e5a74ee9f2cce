/**
 * Reads proto/muster/v1/*.proto and writes src/generated/messages.ts: the descriptor that the codecs are built from at run
 * time, an interface for each message, and a discriminated union for each message whose only content is `oneof body`.
 */
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import protobuf from 'protobufjs';

const here = dirname(fileURLToPath(import.meta.url));
const protoRoot = join(here, '../../../proto');
const root = new protobuf.Root();
root.resolvePath = (_origin, target) => join(protoRoot, target.replace(/^.*?(?=muster\/v1\/)/, ''));
root.loadSync(readdirSync(join(protoRoot, 'muster/v1')).filter((file) => file.endsWith('.proto')).sort().map((file) => `muster/v1/${file}`), { alternateCommentMode: true });
root.resolveAll();

const SCALARS = { string: 'string', bool: 'boolean', bytes: 'Uint8Array', double: 'number', uint32: 'number', int32: 'number', uint64: 'number' };

function fieldType(field) {
  const single = field.resolvedType ? field.resolvedType.name : SCALARS[field.type];
  if (!single) throw new Error(`${field.fullName}: no TypeScript type for ${field.type}`);
  if (field.map) return `Readonly<Record<string, ${single}>>`;
  if (field.repeated) return `readonly ${single}[]`;
  return field.resolvedType ? `${single} | null` : single;
}

function comment(text, indent = '') {
  return text ? `${indent}/** ${text.replaceAll('\n', ' ')} */\n` : '';
}

const lines = ["/* Made by scripts/generate.mjs from proto/muster/v1; do not edit. */", ''];
const types = root.lookup('muster.v1').nestedArray;
for (const type of types) {
  if (!(type instanceof protobuf.Type)) continue;
  lines.push(comment(type.comment).trimEnd());
  const union = type.oneofs?.body;
  if (union) {
    lines.push(`export type ${type.name} =\n${union.fieldsArray.map((f) => `  | ({ readonly type: '${f.name}' } & ${f.resolvedType.name})`).join('\n')};`);
  } else {
    lines.push(`export interface ${type.name} {`);
    for (const field of type.fieldsArray) lines.push(`${comment(field.comment, '  ')}  readonly ${field.name}: ${fieldType(field)};`);
    lines.push('}');
  }
  lines.push('');
}
const plain = types.filter((type) => type instanceof protobuf.Type && !type.oneofs?.body);
const unions = types.filter((type) => type instanceof protobuf.Type && type.oneofs?.body);
lines.push('/** Every message that is not a union, by name. */', 'export interface Messages {', ...plain.map((t) => `  ${t.name}: ${t.name};`), '}', '');
lines.push('/** Every union, by name. */', 'export interface Unions {', ...unions.map((t) => `  ${t.name}: ${t.name};`), '}', '');
lines.push(`export const descriptor: object = ${JSON.stringify(root.toJSON({ keepComments: false }))};`, '');
mkdirSync(join(here, '../src/generated'), { recursive: true });
writeFileSync(join(here, '../src/generated/messages.ts'), lines.filter((line, i) => line !== '' || lines[i - 1] !== '').join('\n'));
