/** Devices by the names that users call them. */
import { cpu } from './cpu.js';
import { cudaDevice } from './cuda.js';
import type { Device, DeviceName } from './device.js';

export function isDeviceName(name: string): name is DeviceName {
  return name === 'cpu' || /^cuda(:\d+)?$/.test(name);
}

/** @throws MusterError INVALID_ARGUMENT for what is no device of this machine, with what is missing */
export function deviceNamed(name: DeviceName): Device {
  return name === 'cpu' ? cpu : cudaDevice(name);
}
