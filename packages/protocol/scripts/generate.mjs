/**
 * Reads proto/muster/v1/*.proto and writes src/generated/messages.ts, with an interface for each message and a discriminated union for each message
 * whose only content is `oneof body`, and src/generated/codecs.ts, with a function that writes each and one that reads it.
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

const types = root.lookup('muster.v1').nestedArray.filter((type) => type instanceof protobuf.Type);
const isUnion = (type) => type.oneofs?.body !== undefined;
const plain = types.filter((type) => !isUnion(type));
const unions = types.filter(isUnion);

const VARINT = 0, FIXED64 = 1, DELIMITED = 2;
/** What a scalar is in TypeScript, its zero, and how it stands on the wire. */
const SCALARS = {
  string: { type: 'string', zero: "''", wireType: DELIMITED },
  bytes: { type: 'Uint8Array', zero: 'NO_BYTES', wireType: DELIMITED },
  bool: { type: 'boolean', zero: 'false', wireType: VARINT },
  double: { type: 'number', zero: '0', wireType: FIXED64 },
  uint32: { type: 'number', zero: '0', wireType: VARINT },
  int32: { type: 'number', zero: '0', wireType: VARINT },
  uint64: { type: 'number', zero: '0', wireType: VARINT },
};
const REPEATED_SCALARS = ['string', 'uint32'];

/** What of protobuf has no user here has no code either. */
function checkField(field) {
  const fail = (what) => { throw new Error(`${field.fullName}: ${what} has no code in scripts/generate.mjs`); };
  if (!field.resolvedType && !SCALARS[field.type]) fail(field.type);
  if (field.resolvedType && !(field.resolvedType instanceof protobuf.Type)) fail('an enum');
  if (field.options?.proto3_optional) fail('an optional field');
  if (field.map && (field.keyType !== 'string' || field.resolvedType)) fail('this kind of map');
  if (field.repeated && !field.resolvedType && !REPEATED_SCALARS.includes(field.type)) fail(`a list of ${field.type}`);
}
for (const type of types) for (const field of type.fieldsArray) checkField(field);

function fieldType(field) {
  const single = field.resolvedType ? field.resolvedType.name : SCALARS[field.type].type;
  if (field.map) return `Readonly<Record<string, ${single}>>`;
  if (field.repeated) return `readonly ${single}[]`;
  return field.resolvedType ? `${single} | null` : single;
}

function comment(text, indent = '') {
  return text ? `${indent}/** ${text.replaceAll('\n', ' ')} */\n` : '';
}

function typeOf(type) {
  if (isUnion(type)) return `export type ${type.name} =\n${type.fieldsArray.map((f) => `  | ({ readonly type: '${f.name}' } & ${f.resolvedType.name})`).join('\n')};`;
  const fields = type.fieldsArray.map((field) => `${comment(field.comment, '  ')}  readonly ${field.name}: ${fieldType(field)};`);
  return [`export interface ${type.name} {`, ...fields, '}'].join('\n');
}

function messagesFile() {
  return [
    ...types.flatMap((type) => [comment(type.comment) + typeOf(type), '']),
    '/** Every message that is not a union, by name. */', 'export interface Messages {', ...plain.map((t) => `  ${t.name}: ${t.name};`), '}', '',
    '/** Every union, by name. */', 'export interface Unions {', ...unions.map((t) => `  ${t.name}: ${t.name};`), '}', '',
  ];
}

const tagOf = (id, wireType) => (id << 3) | wireType;

function writeField(field) {
  const { id, name, type, resolvedType } = field;
  if (field.map) return `out.map(${id}, message.${name}, (entry, value) => entry.${type}(2, value));`;
  if (resolvedType) return `out.${field.repeated ? 'messages' : 'message'}(${id}, message.${name}, write${resolvedType.name});`;
  return `out.${type}${field.repeated ? 's' : ''}(${id}, message.${name});`;
}

/** The cases of a field in the switch that reads its message. */
function readField(field) {
  const { id, name, type, resolvedType } = field;
  const { zero, wireType } = SCALARS[type] ?? { wireType: DELIMITED };
  if (field.map) return [`case ${tagOf(id, DELIMITED)}: input.entry(message.${name}, { tag: ${tagOf(2, wireType)}, zero: ${zero}, read: (entry) => entry.${type}() }); break;`];
  const value = resolvedType ? `input.message(read${resolvedType.name})` : `input.${type}()`;
  if (!field.repeated) return [`case ${tagOf(id, wireType)}: message.${name} = ${value}; break;`];
  const one = `case ${tagOf(id, wireType)}: message.${name}.push(${value}); break;`;
  return type === 'uint32' ? [`case ${tagOf(id, DELIMITED)}: input.uint32s(message.${name}); break;`, one] : [one];
}

function zeroOf(field) {
  if (field.map) return '{}';
  if (field.repeated) return '[]';
  return field.resolvedType ? 'null' : SCALARS[field.type].zero;
}

function readLoop(cases) {
  return [
    '  for (let tag = input.tag(); tag !== 0; tag = input.tag()) {',
    ...(cases.length === 0 ? ['    input.skip(tag);'] : ['    switch (tag) {', ...cases.map((line) => `      ${line}`), '      default: input.skip(tag);', '    }']),
    '  }',
  ];
}

function messageFunctions({ name, fieldsArray: fields }) {
  const unused = fields.length === 0 ? '_' : '';
  return [
    `function write${name}(${unused}out: WireWriter, ${unused}message: messages.${name}): void {`, ...fields.map((field) => `  ${writeField(field)}`), '}', '',
    `function read${name}(input: WireReader): messages.${name} {`,
    `  const message: Draft<messages.${name}> = {${fields.map((field) => ` ${field.name}: ${zeroOf(field)}`).join(',')} };`,
    ...readLoop(fields.flatMap(readField)), '  return message;', '}', '',
  ];
}

function unionFunctions({ name, fieldsArray: fields }) {
  return [
    `function write${name}(out: WireWriter, message: messages.${name}): void {`, '  switch (message.type) {',
    ...fields.map((field) => `    case '${field.name}': return out.message(${field.id}, message, write${field.resolvedType.name});`), '  }', '}', '',
    `function read${name}(input: WireReader): messages.${name} {`, `  let message: messages.${name} | null = null;`,
    ...readLoop(fields.map((field) => `case ${tagOf(field.id, DELIMITED)}: message = { type: '${field.name}', ...input.message(read${field.resolvedType.name}) }; break;`)),
    "  if (!message) throw new RangeError('it has no known body');", '  return message;', '}', '',
  ];
}

function codecsFile() {
  const functions = types.flatMap((type) => (isUnion(type) ? unionFunctions(type) : messageFunctions(type)));
  return [
    "import { NO_BYTES, type WireReader, type WireWriter } from '../wire-format.js';", "import type * as messages from './messages.js';", '',
    '/** A message that is being read. */',
    'type Draft<T> = { -readonly [Field in keyof T]: T[Field] extends readonly (infer Item)[] ? Item[] : T[Field] };', '',
    ...functions,
    '/** How each message and union is written and read. */', 'export const FORMS = {',
    ...types.map(({ name }) => `  ${name}: { write: write${name}, read: read${name} },`), '};', '',
  ];
}

const generated = join(here, '../src/generated');
mkdirSync(generated, { recursive: true });
for (const [name, lines] of [['messages', messagesFile()], ['codecs', codecsFile()]]) {
  writeFileSync(join(generated, `${name}.ts`), ['/* Made by scripts/generate.mjs from proto/muster/v1; do not edit. */', '', ...lines].join('\n'));
}
