/** An argument that lies in shared memory could not be read: its owner must know, and the task has not started. */
export class LostInput extends Error {
  constructor(readonly storageId: string) {
    super(`the argument ${storageId} is lost`);
  }
}
