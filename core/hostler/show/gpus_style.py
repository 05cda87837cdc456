"""Colours, fonts and script of the page of `hostler gpus --html`; gpus_html.py has its content.

Colours are those of Okabe and Ito, which colour-blind people can distinguish; every state is a
letter as well. The script only shows the age of the page; without it the page shows the time.
"""

from __future__ import annotations

STYLE = """
:root{--bg:#fbfbf9;--fg:#15191c;--dim:#5c666e;--line:#d9dcdd;--warn:#D55E00;--alt:#f1f2f0}
@media (prefers-color-scheme:dark){
:root{--bg:#0d1114;--fg:#edf0f2;--dim:#93a0a9;--line:#252c31;--warn:#ff8a3d;--alt:#12181c}}
*{box-sizing:border-box;margin:0;padding:0}
html{font:16px/1.25 system-ui,"Segoe UI",Roboto,"DejaVu Sans",sans-serif;
background:var(--bg);color:var(--fg)}
body{min-height:100vh;padding:.7rem 1.2rem .5rem;display:flex;flex-direction:column;gap:.5rem;
font-variant-numeric:tabular-nums}
ul,ol{list-style:none}
header{display:grid;grid-template-columns:auto auto 1fr;align-items:baseline;
gap:.1rem 1.6rem}
h1{font-size:2.2rem;font-weight:500;grid-row:1;grid-column:1}
h1 b{font-size:3.2rem;line-height:1}
.sim{font-size:1.7rem;font-weight:800;padding:.05em .5em;align-self:center;
grid-row:1;grid-column:2;color:#000;
background:repeating-linear-gradient(135deg,#F0E442 0 .7em,#ffd21f .7em 1.4em)}
.sim small{font-size:.5em;font-weight:600;vertical-align:.25em}
.models,.legend{display:flex;flex-wrap:wrap;gap:.1rem 1.3rem}
.models{font-size:1.35rem;grid-row:2;grid-column:1/-1}
.models b{font-size:1.25em}
.models .none{color:var(--dim)}
.asof{font-size:1.3rem;grid-row:1;grid-column:3;text-align:right;color:var(--dim)}
.asof time,#age{color:var(--fg);font-weight:600}
.old,.problem{color:#000;background:#F0A060;font-weight:700;font-size:1.3rem;padding:.1em .6em}
.old{position:absolute;right:1.2rem;top:3.9rem;
visibility:hidden;animation:old 0s linear var(--old) forwards}
.counted .old{animation:none}
.is-old .old{visibility:visible}
.is-old main{opacity:.55}
@keyframes old{to{visibility:visible}}
main{--unit:2.7;--cell:calc(var(--unit)*1em);
--high:clamp(1.7rem,calc((100vh - 10.4rem)/var(--rows)),4.4rem);
--wide:calc(96vw/((30 + var(--unit)*var(--gpus))*.47*var(--columns)));
--h:min(var(--high),var(--wide));
display:grid;grid-auto-flow:column;grid-template-rows:repeat(var(--rows),var(--h));
column-gap:1.6rem;flex:1;align-content:start}
.c1{grid-auto-columns:100%}
.c2{grid-auto-columns:calc(50% - .8rem)}
.c3{grid-auto-columns:calc(33.33% - 1.07rem)}
.dense{--unit:1.45}
.dense small{display:none}
.host{font-size:calc(var(--h)*.47);display:grid;align-items:center;gap:.5em;min-width:0;
grid-template-columns:6.2em 6em calc(var(--gpus)*var(--cell)) 3.3em minmax(0,1fr) 3.6em;
border-bottom:1px solid var(--line)}
.c1 .host{grid-template-columns:7.5em 5.6em calc(var(--gpus)*var(--cell)) 3.3em minmax(0,1fr) 3.5em}
.c3 .host{grid-template-columns:5.5em 5.5em calc(var(--gpus)*var(--cell)) 3.3em minmax(0,1fr) 3.5em}
.host:nth-child(even){background:var(--alt)}
.host h2,.host p{font-size:1em;white-space:nowrap;overflow:hidden;text-overflow:ellipsis}
.host h2{font-weight:600}
.host .model,.host .age{color:var(--dim);font-size:.85em}
.host .age,.host .count{text-align:right}
.host .count{color:var(--dim)}
.host.some .count{color:inherit;font-weight:700}
.host .notes{font-size:.85em}
.host.stale h2,.host.stale .notes,.host.stale .age{color:var(--warn)}
.gpus{display:flex;height:calc(var(--h) - 6px)}
.gpus li{flex:0 0 var(--cell);display:flex;align-items:center;justify-content:center;gap:.1em;
border-radius:.2em;border:2px solid var(--bg);position:relative;overflow:hidden;line-height:1}
.gpus b{font-size:1.1em;font-weight:800}
.gpus small{font-size:.8em;font-weight:600}
.gpus li::after{content:"";position:absolute;left:0;bottom:0;height:.16em;width:var(--u,0);
background:currentColor;opacity:.75}
.free{background:#009E73;color:#000}
.leased{background:#0072B2;color:#fff}
.idle{background:#56B4E9;color:#000}
.foreign{background:#E69F00;color:#000}
.contested{background:#CC79A7;color:#000}
.drained{background:#9aa1a6;color:#000}
.unhealthy{background:#D55E00;color:#000}
.unknown{background:transparent;color:var(--dim)}
.gpus .unknown{outline:2px dashed var(--line);outline-offset:-5px}
.legend{font-size:1.05rem;color:var(--dim)}
.legend i{font-style:normal;font-weight:800;display:inline-block;min-width:1.4em;
text-align:center;border-radius:.2em}
.dense+footer .memory{display:none}
.legend b{color:var(--fg)}
@media (max-width:1100px){header{display:block}.old{position:static}
main,.c1,.c2,.c3{display:block;--h:2.1rem}
.host,.c1 .host,.c3 .host{height:auto;min-height:var(--h);font-size:1rem;
grid-template-columns:6em 1fr 3em 3em}
.host h2{grid-row:1}.host .gpus{grid-row:2;grid-column:1/-1;height:1.8rem}
.host .notes{grid-row:3;grid-column:1/-1;white-space:normal}}
"""

SCRIPT = """
(function(){var b=document.body,at=Number(b.dataset.at),old=Number(b.dataset.old);
b.classList.add("counted");
function say(s){return s<120?s+"s":s<7200?Math.floor(s/60)+"m":Math.floor(s/3600)+"h"}
function tick(){var s=Math.max(0,Math.floor(Date.now()/1000-at));
document.getElementById("age").textContent="("+say(s)+" ago)";
document.getElementById("since").textContent="nothing new for "+say(s);
b.classList.toggle("is-old",s>old)}
tick();setInterval(tick,1000)})()
"""
