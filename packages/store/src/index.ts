export * from './machine/messages.js';
export { PAGE_BYTES, pagesOf } from './machine/pages.js';
export { StoreMachine, type StoreMachineOptions } from './machine/store-machine.js';
export { InMemoryArena, type ArenaMemory } from './io/arena-memory.js';
export { SpillFolder } from './io/spill-folder.js';
export {
  ObjectStore, type ClientListener, type ObjectChunk, type ObjectStoreOptions, type Pull, type StoreConnection, type StoreSurroundings,
} from './io/object-store.js';
