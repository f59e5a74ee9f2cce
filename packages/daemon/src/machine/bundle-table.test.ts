import t from 'tap';
import { MachineScript } from '../test-support/machine-script.js';

const share = { groupId: 'pg-1', epoch: 1 };
const bundle = { ...share, index: 0, capturesChildren: true };

/** A node with one worker, that has prepared two bundles. */
function prepared(): { script: MachineScript; workerId: string } {
  const script = new MachineScript({ prestart: 1, gpus: 2 }).start();
  const [workerId] = script.readyAll();
  script.head({ type: 'prepareBundles', ...share, bundles: [{ index: 0, gpuIds: [1] }, { index: 2, gpuIds: [] }], commit: false });
  script.sent();
  return { script, workerId: workerId! };
}

t.test('bundles are prepared, committed and returned, and each of these may be repeated', async (t) => {
  const { script } = prepared();
  script.head({ type: 'prepareBundles', ...share, bundles: [{ index: 0, gpuIds: [1] }, { index: 2, gpuIds: [] }], commit: false });
  t.match(script.sent(), [{ type: 'bundlesPrepared', ...share, failure: null }]);
  for (let count = 0; count < 2; count++) script.head({ type: 'commitBundles', ...share });
  t.same(script.sent(), [], 'a commit is not answered');
  for (let count = 0; count < 2; count++) {
    script.head({ type: 'returnBundles', ...share, reason: 'it was removed' });
    t.match(script.sent(), [{ type: 'bundlesReturned', ...share }]);
  }
  script.head({ type: 'commitBundles', ...share });
  script.startLease('lease-1', { bundle });
  t.match(script.sent(), [{ type: 'leaseFailed', leaseId: 'lease-1' }], 'a late commit brings nothing back');
});

t.test('GPUs that the node has not got are refused', async (t) => {
  const script = new MachineScript({ gpus: 2 }).start();
  script.sent();
  script.head({ type: 'prepareBundles', ...share, bundles: [{ index: 0, gpuIds: [1, 2] }], commit: false });
  t.match(script.sent(), [{ type: 'bundlesPrepared', ...share, failure: { details: { reasons: 'they were given the GPUs 2 of a node that has 2' } } }]);
});

t.test('a lease starts in a bundle that is committed, and in no other', async (t) => {
  const { script, workerId } = prepared();
  script.startLease('lease-1', { bundle });
  t.match(script.sent(), [{ type: 'leaseFailed', cause: { detail: 'the node keeps no bundle 0 for pg-1' } }], 'it is only prepared');
  script.head({ type: 'commitBundles', ...share });
  script.startLease('lease-2', { bundle: { ...bundle, index: 1 } });
  script.startLease('lease-3', { bundle: { ...bundle, epoch: 2 } });
  t.match(script.sent(), [{ type: 'leaseFailed', leaseId: 'lease-2' }, { type: 'leaseFailed', leaseId: 'lease-3' }]);
  script.startLease('lease-4', { bundle });
  t.match(script.sent(), [{ type: 'leaseStarted', leaseId: 'lease-4', workerId }]);
  t.match(script.take('commandWorker'), [{ workerId, command: { leaseId: 'lease-4', bundle } }], 'the worker learns where it is');
});

t.test('what runs in returned bundles is killed, and they are returned when it is gone', async (t) => {
  const { script, workerId } = prepared();
  script.head({ type: 'commitBundles', ...share });
  script.startLease('lease-1', { bundle });
  script.startLease('lease-2', { bundle });
  script.startLease('lease-3');
  script.sent();
  script.head({ type: 'returnBundles', ...share, reason: 'it was removed' });
  t.match(script.take('killWorker'), [{ workerId }]);
  t.match(script.sent(), [{ type: 'leaseEnded', leaseId: 'lease-2' }], 'the one that had no worker ends at once');
  script.head({ type: 'prepareBundles', ...share, bundles: [{ index: 0, gpuIds: [] }], commit: false });
  script.startLease('lease-4', { bundle });
  t.match(script.sent(), [{ type: 'leaseFailed', leaseId: 'lease-4' }], 'nothing starts there meanwhile');
  script.exit(workerId, { signal: 'SIGKILL' });
  t.match(script.sent().slice(0, 2), [{ type: 'leaseEnded', leaseId: 'lease-1', cause: { kind: 'killed', detail: 'it was removed' } }, { type: 'bundlesReturned', ...share }], 'in this order');
});

t.test('what nobody else has to prepare is committed at once', async (t) => {
  const script = new MachineScript({ prestart: 1 }).start();
  const [workerId] = script.readyAll();
  script.head({ type: 'prepareBundles', ...share, bundles: [{ index: 0, gpuIds: [] }], commit: true });
  script.startLease('lease-1', { bundle });
  t.match(script.sent().slice(-2), [{ type: 'bundlesPrepared', ...share, failure: null }, { type: 'leaseStarted', leaseId: 'lease-1', workerId }]);
});
