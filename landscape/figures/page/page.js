/* Draws each surface with plotly.js, in the colours of the page, and anew when the theme changes. */
"use strict";
(() => {
  const colour = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  const layout = data => {
    const axis = (title, more) => ({
      title: { text: title, font: { size: 12 } }, color: colour("--ink"), gridcolor: colour("--rule"),
      zerolinecolor: colour("--rule"), showbackground: false, showspikes: false, nticks: 5, ...more,
    });
    return {
      margin: { l: 0, r: 0, t: 0, b: 0 },
      paper_bgcolor: "rgba(0,0,0,0)",
      font: { family: "system-ui, sans-serif", size: 11, color: colour("--ink") },
      scene: {
        xaxis: axis(data.axes[0]), yaxis: axis(data.axes[1]),
        zaxis: axis(data.axes[2], data.log ? { type: "log", dtick: 1 } : {}),
        aspectmode: "manual", aspectratio: { x: 1, y: 1, z: 0.7 },
        camera: { eye: { x: 1.65, y: -1.65, z: 1.1 }, center: { x: 0, y: 0, z: -0.15 } },
      },
      uirevision: "kept",
    };
  };

  const draw = element => {
    const data = JSON.parse(document.getElementById(element.dataset.surface).textContent);
    const trace = {
      type: "surface", x: data.x, y: data.y, z: data.z, colorscale: "Viridis", showscale: false,
      surfacecolor: data.log ? data.z.map(row => row.map(v => (v === null ? null : Math.log10(v)))) : data.z,
      contours: { z: { show: true, usecolormap: false, color: "rgba(255,255,255,0.35)", width: 1 } },
      hovertemplate: "%{x:.3g}, %{y:.3g}: loss %{z:.4g}<extra></extra>",
    };
    return Plotly.react(element, [trace], layout(data), { displayModeBar: false, responsive: true });
  };

  const all = () => document.querySelectorAll("[data-surface]").forEach(draw);
  all();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", all);
})();
