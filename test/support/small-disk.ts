/** A disk that is soon full. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Test } from 'tap';

/** A folder on a file system of so many KiB, until the test is over; null where none can be mounted. */
export function smallDisk(t: Test, sizeKib: number): string | null {
  const home = mkdtempSync(join(tmpdir(), 'muster-t-disk-'));
  const mountpoint = join(home, 'small');
  mkdirSync(mountpoint, { mode: 0o700 });
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${sizeKib}k,mode=700`, 'tmpfs', mountpoint], { stdio: 'pipe' });
  } catch {
    rmSync(home, { recursive: true });
    return null;
  }
  t.teardown(() => {
    execFileSync('umount', ['-l', mountpoint]);
    rmSync(home, { recursive: true });
  });
  return mountpoint;
}
