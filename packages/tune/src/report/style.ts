/** The report's style: one text, light or dark as the reader's system is. */

export const STYLE = `
:root{color-scheme:light dark;--paper:#fff;--ink:#1d2330;--soft:#5b6475;--line:#dfe3ea;--card:#f5f7fa;--faint:#c2c8d2;--best:#0b7a4b;--worst:#d9b44a;--accent:#2456c9}
@media(prefers-color-scheme:dark){:root{--paper:#14171d;--ink:#e6e9ef;--soft:#9aa3b2;--line:#2b313c;--card:#1c2129;--faint:#4a5261;--best:#45d694;--worst:#8a5a2b;--accent:#7aa2ff}}
*{box-sizing:border-box}body{margin:0;background:var(--paper);color:var(--ink);font:15px/1.5 system-ui,sans-serif}
header,main{max-width:1080px;margin:0 auto;padding:24px}h1{margin:0 0 16px;font-size:26px}h2{font-size:18px;margin:36px 0 8px}
.best{background:var(--card);border-left:4px solid var(--best);padding:12px 16px;display:flex;flex-direction:column;gap:2px}.best strong{font-size:28px}.best span{color:var(--soft)}
code{font:13px ui-monospace,monospace;overflow-wrap:anywhere}
dl{display:flex;flex-wrap:wrap;gap:8px 28px;margin:16px 0 0}dt{color:var(--soft);font-size:13px}dd{margin:0;font-weight:600}
.note{color:var(--soft);margin:0 0 8px}.wide{overflow-x:auto}svg{display:inline-block;vertical-align:top;max-width:none}
.grid{stroke:var(--line)}.rail{stroke:var(--soft)}.tick{fill:var(--soft);font-size:11px;paint-order:stroke;stroke:var(--paper);stroke-width:3px}.label{fill:var(--ink);font-size:13px}.bar{fill:var(--accent)}
.best-line{fill:none;stroke:var(--best);stroke-width:2}.thread{fill:none;stroke-width:1.4}.curve{fill:none;stroke:var(--faint);stroke-width:1.2}.curve.good{stroke:var(--best);stroke-width:2}
.mark{fill:var(--ink)}path:hover{stroke-width:3;opacity:1!important}circle:hover{r:6px}
table{border-collapse:collapse;font-size:13px}th,td{padding:4px 10px;text-align:left;border-bottom:1px solid var(--line);white-space:nowrap}th{position:sticky;top:0;background:var(--paper)}tr.failed td{color:var(--soft)}
td:nth-last-child(-n+2){white-space:normal;min-width:220px}
`;
