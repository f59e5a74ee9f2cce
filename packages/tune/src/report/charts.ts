/** Charts in SVG, written by hand. Colours come from the page's style, so that they follow its light and dark theme. */
import type { Axis } from './axes.js';

/** A point of a chart, with what is shown when one points at it. */
export interface Dot {
  readonly x: number;
  readonly y: number;
  readonly title: string;
  /** How good it is, from 0 (worst) to 1; null: nobody knows. */
  readonly shade: number | null;
  /** Drawn as a ring. */
  readonly isHollow?: boolean;
}

/** How a chart is framed. */
export interface Frame {
  readonly x: Axis;
  readonly y: Axis;
  readonly width?: number;
  readonly height?: number;
}

const WIDTH = 640;
const HEIGHT = 320;
const LEFT = 64;
const RIGHT = 16;
const TOP = 12;
const BOTTOM = 44;
/** Browsers become slow with more elements; of more, every nth is drawn. */
export const ELEMENTS_MAX = 3_000;

export const escapeText = (text: string): string => text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
const fixed = (value: number): string => String(Math.round(value * 10) / 10);

/** Every nth of too many. */
export function thinOut<T>(items: readonly T[], most = ELEMENTS_MAX): readonly T[] {
  const every = Math.ceil(items.length / most);
  return every <= 1 ? items : items.filter((_, index) => index % every === 0);
}

/** A colour between the theme's worst and best. */
export const colourOf = (shade: number | null): string => (shade === null ? 'var(--faint)' : `color-mix(in oklab, var(--best) ${Math.round(shade * 100)}%, var(--worst))`);

/** Dots, and lines over or under them. Places are from 0 to 1. */
export function scatter(frame: Frame, dots: readonly Dot[], lines: readonly { readonly points: readonly (readonly [number, number])[]; readonly className: string; readonly title?: string }[] = []): string {
  const { width = WIDTH, height = HEIGHT } = frame;
  const place = placer(width, height);
  const paths = lines.filter(({ points }) => points.length > 1).map(({ points, className, title }) =>
    `<path class="${className}" d="M${points.map(([x, y]) => place(x, y)).join('L')}">${title ? `<title>${escapeText(title)}</title>` : ''}</path>`);
  const circles = thinOut(dots).map(({ x, y, title, shade, isHollow }) => {
    const [cx, cy] = place(x, y).split(',');
    const colour = colourOf(shade);
    return `<circle cx="${cx}" cy="${cy}" r="3.5" style="${isHollow ? `fill:none;stroke:${colour};stroke-width:1.5;pointer-events:all` : `fill:${colour}`}"><title>${escapeText(title)}</title></circle>`;
  });
  return svg(width, height, [axes(frame), ...paths, ...circles]);
}

/** Bars from the left, longest first. */
export function bars(items: readonly { readonly name: string; readonly share: number }[]): string {
  const sorted = [...items].sort((a, b) => b.share - a.share);
  const rowHeight = 26;
  const longest = Math.max(...sorted.map(({ share }) => share), 1e-9);
  const rows = sorted.map(({ name, share }, index) => {
    const y = index * rowHeight + 6;
    const length = (share / longest) * (WIDTH - 260);
    return `<text class="label" x="170" y="${y + 14}" text-anchor="end">${escapeText(name)}</text><rect class="bar" x="180" y="${y}" width="${fixed(length)}" height="18" rx="3"/>`
      + `<text class="label" x="${fixed(188 + length)}" y="${y + 14}">${(share * 100).toFixed(0)} %</text>`;
  });
  return svg(WIDTH, sorted.length * rowHeight + 12, rows);
}

/** Longer names of parallel axes are cut; half of such a one fits on either side. */
const NAME_LENGTH_MAX = 22;
const SIDE = 90;

/** One line a trial across parallel axes; the best are drawn last. */
export function parallelCoordinates(axesShown: readonly Axis[], trials: readonly { readonly places: readonly (number | null)[]; readonly shade: number | null; readonly title: string }[]): string {
  const width = Math.max(WIDTH, SIDE + axesShown.length * 130);
  const height = 380;
  const xOf = (index: number): number => SIDE + (index * (width - 2 * SIDE)) / Math.max(1, axesShown.length - 1);
  const yOf = (at: number): number => 40 + (1 - at) * (height - 64);
  const lines = [...thinOut(trials)].sort((a, b) => (a.shade ?? -1) - (b.shade ?? -1)).map(({ places, shade, title }) => {
    const points = places.flatMap((at, index) => (at === null ? [] : [`${fixed(xOf(index))},${fixed(yOf(at))}`]));
    return points.length < 2 ? '' : `<path class="thread" style="stroke:${colourOf(shade)};opacity:${(0.25 + 0.6 * (shade ?? 0)).toFixed(2)}" d="M${points.join('L')}"><title>${escapeText(title)}</title></path>`;
  });
  const rails = axesShown.map((axis, index) => {
    const x = fixed(xOf(index));
    const ticks = axis.ticks.map(({ at, label }) => `<text class="tick" x="${fixed(xOf(index) + 6)}" y="${fixed(yOf(at) + 4)}">${escapeText(label)}</text>`);
    return `<line class="rail" x1="${x}" y1="40" x2="${x}" y2="${height - 24}"/><text class="label" x="${x}" y="22" text-anchor="middle">${escapeText(axis.name.slice(0, NAME_LENGTH_MAX))}</text>${ticks.join('')}`;
  });
  return svg(width, height, [...lines, ...rails]);
}

/** A square of cells, each as good as the trials near it; the trials are dots on it. */
export function heat(frame: Frame, cells: readonly (readonly (number | null)[])[], dots: readonly Dot[]): string {
  const { width = 480, height = 400 } = frame;
  const place = placer(width, height);
  const size = cells.length;
  const rects = cells.flatMap((row, y) => row.map((shade, x) => {
    const [left, top] = place(x / size, (y + 1) / size).split(',').map(Number) as [number, number];
    const [right, bottom] = place((x + 1) / size, y / size).split(',').map(Number) as [number, number];
    return `<rect x="${left}" y="${top}" width="${fixed(right - left + 0.5)}" height="${fixed(bottom - top + 0.5)}" style="fill:${colourOf(shade)};opacity:.55"/>`;
  }));
  const circles = thinOut(dots, 800).map(({ x, y, title }) => {
    const [cx, cy] = place(x, y).split(',');
    return `<circle class="mark" cx="${cx}" cy="${cy}" r="2.5"><title>${escapeText(title)}</title></circle>`;
  });
  return svg(width, height, [...rects, axes({ ...frame, width, height }), ...circles]);
}

const placer = (width: number, height: number) => (x: number, y: number): string => `${fixed(LEFT + x * (width - LEFT - RIGHT))},${fixed(TOP + (1 - y) * (height - TOP - BOTTOM))}`;

function axes({ x, y, width = WIDTH, height = HEIGHT }: Frame): string {
  const place = placer(width, height);
  const bottom = height - BOTTOM;
  const xTicks = x.ticks.map(({ at, label }) => {
    const left = place(at, 0).split(',')[0];
    return `<line class="grid" x1="${left}" y1="${TOP}" x2="${left}" y2="${bottom}"/><text class="tick" x="${left}" y="${bottom + 16}" text-anchor="middle">${escapeText(label)}</text>`;
  });
  const yTicks = y.ticks.map(({ at, label }) => {
    const top = Number(place(0, at).split(',')[1]);
    return `<line class="grid" x1="${LEFT}" y1="${top}" x2="${width - RIGHT}" y2="${top}"/><text class="tick" x="${LEFT - 6}" y="${top + 4}" text-anchor="end">${escapeText(label)}</text>`;
  });
  return `${xTicks.join('')}${yTicks.join('')}<text class="label" x="${(width + LEFT) / 2}" y="${height - 8}" text-anchor="middle">${escapeText(x.name)}</text>`
    + `<text class="label" transform="translate(14 ${bottom / 2}) rotate(-90)" text-anchor="middle">${escapeText(y.name)}</text>`;
}

function svg(width: number, height: number, parts: readonly string[]): string {
  return `<svg viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img">${parts.join('')}</svg>`;
}
