/** For @muster/worker and @muster/sim: the parts of core that run in other processes too. Not for users. */
import './io/connections.js'; // a worker is started ahead of its node: it loads everything before it hears from it
export { Session, type SessionOptions, type SessionTarget } from './io/session.js';
export { sessionForms } from './api/init.js';
export { setSession } from './api/current.js';
export { provideContext, type Context } from './api/context.js';
export { interfaceOf, type ActorInterface } from './api/actor.js';
export { isGenerator } from './api/options.js';
export { Owner, type ArgumentEncoder, type EncodedArgument, type OwnerIdentity } from './machine/owner.js';
export type { OwnerPorts, Outcome } from './machine/ports.js';
export type { GroupClient } from './machine/groups.js';
export type { LenderHandlers, LenderTransport } from './machine/borrowing.js';
export type { LineHandlers, LineTarget, LineTransport } from './machine/line.js';
export { storageIdFor } from './machine/objects.js';
export { ALLOCATE_TIMEOUT_MS, END_JOB_DEADLINE_MS, FETCH_ATTEMPTS_MAX, OWNER_TICK_MS } from './machine/patience.js';
export { attachWaiter, EncodedValue, ObjectRef, RefState, StoredObject } from './machine/reference.js';
export { decodeStored, encodeStored, describeStored, readRefDescriptors, type RefDescriptor, type StoredDescriptor } from './machine/descriptors.js';
export { encodeComposite, INLINE_MAX_BYTES, sizeOf } from './values/composite.js';
export { encodeThrown } from './values/errors.js';
export type { GangClient } from './machine/gangs.js';
export { Search } from './machine/search.js';
export { STREAM_WINDOW, type ResultStream } from './machine/stream.js';
export type { Serialized } from './values/serializer.js';
