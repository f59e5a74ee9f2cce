/** @param {number} durationMs @returns {string} such as `0.3 s`, `31 s`, `2 m 5 s` */
export function formatSeconds(durationMs) {
  const seconds = durationMs / 1000;
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  if (seconds < 59.5) return `${Math.round(seconds)} s`;
  return `${Math.floor(Math.round(seconds) / 60)} m ${Math.round(seconds) % 60} s`;
}
