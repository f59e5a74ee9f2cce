import t from 'tap';
import { errorFromWire, errorToWire, makeError } from './errors.js';

t.test('a message has one full stop after each sentence, also where a cause is a sentence itself', async (t) => {
  const cause = makeError('CONNECTION', { what: 'the head', cause: 'it is busy...' });
  t.equal(cause.message, 'cannot reach the head: it is busy.... Check the address, and that `cluster status` answers there.');
  const outer = makeError('OBJECT_LOST', { what: 'obj-1', cause: cause.message });
  t.equal(outer.message, `obj-1 was lost: ${cause.message} A value made by put() or an actor cannot be rebuilt; make it in a task, or put it again.`);
  t.equal(errorFromWire(errorToWire(outer)).message, outer.message, 'also behind a wire');
});
