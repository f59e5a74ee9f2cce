/** What console.log() writes of a tensor. */
import { inspect } from 'node:util';
import t from 'tap';
import { allocator, arange, exportOnnx, nn, tensor, zeros, type Tensor } from './index.js';

t.test('a tensor is shown with its dtype, its shape and its elements', async (t) => {
  t.equal(inspect(tensor(3.14159265)), 'f32[] 3.1416');
  t.equal(inspect(tensor([1, -2.5, NaN])), 'f32[3] [1, -2.5, NaN]');
  t.equal(inspect(tensor([true, false])), 'bool[2] [true, false]');
  t.equal(inspect(tensor([2n ** 60n])), 'i64[1] [1152921504606846976]');
  t.equal(inspect(tensor([0.5], { dtype: 'bf16' })), 'bf16[1] [0.5]');
  t.equal(inspect(tensor([[1, 2], [3, 4]], { requiresGrad: true }).transpose()), 'f32[2, 2] requiresGrad\n[[1, 3],\n [2, 4]]');
  t.equal(inspect(arange(8).reshape(2, 2, 2)), 'i64[2, 2, 2]\n[[[0, 1],\n  [2, 3]],\n\n [[4, 5],\n  [6, 7]]]');
  t.equal(inspect({ loss: tensor(1) }), '{ loss: f32[] 1 }');
  t.equal(inspect(zeros([2, 0])), 'f32[2, 0]\n[[],\n []]');
});

t.test('a large one by its edges, and one that was disposed of by its name', async (t) => {
  t.equal(inspect(arange(5000)), 'i64[5000] [0, 1, 2, ..., 4997, 4998, 4999]');
  t.equal(inspect(arange(4000).reshape(2, 2000)), 'i64[2, 2000]\n[[0, 1, 2, ..., 1997, 1998, 1999],\n [2000, 2001, 2002, ..., 3997, 3998, 3999]]');
  const freed = zeros([3]);
  freed.dispose();
  t.equal(inspect(freed), 'f32[3] disposed');
});

t.test('it leaves nothing behind, and a model that prints goes out as ONNX', async (t) => {
  const weights = nn.parameter(zeros([40, 40]));
  const { usedBytes } = allocator.statistics();
  inspect(weights);
  t.equal(allocator.statistics().usedBytes, usedBytes);
  class Printing extends nn.Module {
    forward(x: Tensor): Tensor {
      inspect(x);
      return x.mul(2);
    }
  }
  t.ok(exportOnnx(new Printing(), [zeros([2, 2])]).length > 0);
});
