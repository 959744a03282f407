// Generated from records by `python -m benchmark leaderboard`. Do not edit.
"use strict";

(() => {
  // Rows laid out at once, and rows that a button adds: a browser takes long over thousands.
  const PAGE = 60;
  const MORE = 200;
  const root = document.documentElement;

  // A page opened from a file may be refused its storage, even by throwing.
  const remembered = () => { try { return localStorage.getItem("theme"); } catch { return null; } };
  const remember = (theme) => { try { localStorage.setItem("theme", theme); } catch { /* for this page only */ } };

  const stored = remembered();
  if (stored === "light" || stored === "dark") root.dataset.theme = stored; // before anything is painted

  document.addEventListener("DOMContentLoaded", () => {
    themeSwitch(document.getElementById("theme"));
    // The documentation is beside the boards where they are published, not in a folder of results.
    if (location.protocol === "file:") document.querySelectorAll("a.docs").forEach((link) => link.replaceWith(link.dataset.name ?? link.textContent));
    document.querySelectorAll(".cmd").forEach(copyButton);
    const data = document.getElementById("data");
    if (data) board(JSON.parse(data.textContent));
  });

  function themeSwitch(button) {
    const system = matchMedia("(prefers-color-scheme: dark)");
    const current = () => root.dataset.theme || (system.matches ? "dark" : "light");
    const show = () => {
      button.textContent = current() === "dark" ? "Light" : "Dark";
      button.setAttribute("aria-label", `Switch to ${button.textContent.toLowerCase()} colours`);
    };
    button.addEventListener("click", () => {
      root.dataset.theme = current() === "dark" ? "light" : "dark";
      remember(root.dataset.theme);
      show();
    });
    system.addEventListener("change", show);
    button.hidden = false;
    show();
  }

  function copyButton(block) {
    const code = document.createElement("code");
    code.textContent = block.textContent;
    code.tabIndex = 0; // it scrolls now, instead of the block
    block.removeAttribute("tabindex");
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = "Copy";
    button.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(code.textContent);
        button.textContent = "Copied";
      } catch {
        getSelection().selectAllChildren(code);
        button.textContent = "Selected";
      }
      setTimeout(() => { button.textContent = "Copy"; }, 1500);
    });
    block.replaceChildren(code, button);
  }

  function board({ columns, groups, rows }) {
    const byName = (id) => document.getElementById(id);
    const table = byName("rows");
    const headings = [...table.querySelectorAll("tr.group")];
    const lines = [...table.querySelectorAll("tr[id]")];
    const at = Object.fromEntries(columns.map((column, place) => [column.key, place]));
    const controls = [...byName("controls").querySelectorAll("[name]")];
    const byId = new Map();
    rows.forEach((row, place) => { row.place = place; row.line = lines[place]; });
    for (const row of [...rows].reverse()) for (const id of row.ids) byId.set(id, row.place);
    rows.forEach((row) => byId.set(row.ids[0], row.place)); // its own name before another row's later seed
    const pictures = [...document.querySelectorAll(".pareto")].map((picture) =>
      [...picture.querySelectorAll("a")].map((dot) => [dot, byId.get(dot.getAttribute("href").slice(1))]));

    let sort = { key: "rank", down: false };
    let order = rows;
    let from = 0;
    let to = PAGE;
    let timer = 0;

    const heads = columns.map((column, place) => {
      const head = table.tHead.rows[0].cells[place];
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = head.textContent;
      button.addEventListener("click", () => {
        sort = sort.key === column.key ? { key: column.key, down: !sort.down } : { key: column.key, down: column.down };
        update();
      });
      head.replaceChildren(button);
      return head;
    });

    function bytes(text) {
      const match = /^\s*(\d+\.?\d*|\.\d+)\s*([kmg]?)b?\s*$/i.exec(text);
      return match ? Number(match[1]) * { "": 1, k: 1e3, m: 1e6, g: 1e9 }[match[2].toLowerCase()] : NaN;
    }

    // A number in a field; what cannot be read limits nothing, and its field says so.
    function limit(name, read, otherwise) {
      const control = controls.find((each) => each.name === name);
      const text = control.value.trim();
      const value = text === "" ? otherwise : read(text);
      control.setAttribute("aria-invalid", String(Number.isNaN(value)));
      return Number.isNaN(value) ? otherwise : value;
    }

    function wanted() {
      const chosen = Object.fromEntries(controls.map((control) => [control.name, control.value]));
      const words = chosen.search.toLowerCase().split(/\s+/).filter(Boolean);
      const size = limit("size_bytes", bytes, Infinity);
      const least = limit("least", Number, -Infinity);
      const most = limit("most", Number, Infinity);
      const seeds = limit("n_seeds", Number, 0);
      const equal = ["method", "weights", "last_norm"].filter((name) => chosen[name] !== "").map((name) => [at[name], chosen[name]]);
      return ({ values, group, strategy, granularity, words: searchable }) =>
        equal.every(([place, value]) => values[place] === value)
        && (chosen.preset === "" || groups[group].preset === chosen.preset)
        && (chosen.class === "" || groups[group].class === chosen.class)
        && (chosen.strategy === "" || chosen.strategy === strategy
          || (chosen.strategy === "p" && /^[0-9]/.test(strategy)))
        && (!chosen.granularity || chosen.granularity === granularity) // few boards have this list
        && values[at.size_bytes] <= size
        && values[at.density] >= least && values[at.density] <= most
        && values[at.n_seeds] >= seeds
        && words.every((word) => searchable.includes(word));
    }

    // Unknown values stay last in both directions; equals keep the order of the ranking.
    function sorted(matching) {
      const { key, down } = sort;
      const sign = down ? -1 : 1;
      const place = at[key];
      return [...matching].sort((a, b) => {
        if (key === "rank" && a.group !== b.group) return a.group - b.group;
        const [left, right] = [a.values[place], b.values[place]];
        if (left === null || right === null) return (left === null) - (right === null) || a.place - b.place;
        return (left < right ? -sign : left > right ? sign : 0) || a.place - b.place;
      });
    }

    function update() {
      order = sorted(rows.filter(wanted()));
      from = 0;
      to = PAGE;
      draw();
      clearTimeout(timer); // browsers refuse to rewrite the address at every key
      timer = setTimeout(writeAddress, 250);
    }

    function draw() {
      const flat = sort.key !== "rank";
      const bodies = [];
      let group = -1;
      for (const row of order.slice(from, to)) {
        if (!bodies.length || (!flat && row.group !== group)) {
          bodies.push(document.createElement("tbody"));
          group = row.group;
          if (!flat) bodies.at(-1).append(headings[group]);
        }
        bodies.at(-1).append(row.line);
      }
      [...table.tBodies].forEach((body) => body.remove());
      table.append(...bodies);
      table.classList.toggle("flat", flat);
      heads.forEach((head, place) => {
        if (columns[place].key === sort.key) head.setAttribute("aria-sort", sort.down ? "descending" : "ascending");
        else head.removeAttribute("aria-sort");
      });
      const last = Math.min(to, order.length);
      const part = last - from < order.length ? `, ${from + 1} to ${last} shown` : "";
      byName("count").textContent = `${order.length} of ${rows.length} rows${part}`;
      byName("earlier").hidden = from === 0;
      byName("more").hidden = last === order.length;
      requestAnimationFrame(fade);
    }

    function fade() {
      const shown = new Set(order.map((row) => row.place));
      for (const dots of pictures)
        for (const [dot, place] of dots) dot.classList.toggle("out", !shown.has(place));
    }

    function writeAddress() {
      const view = new URLSearchParams(controls.filter(({ value }) => value !== "").map(({ name, value }) => [name, value]));
      if (sort.key !== "rank" || sort.down) view.set("sort", (sort.down ? "-" : "") + sort.key);
      const text = view.toString();
      if (text || location.hash.includes("=")) history.replaceState(null, "", text ? `#${text}` : "#");
    }

    function clear() {
      for (const control of controls) control.value = "";
      sort = { key: "rank", down: false };
    }

    // Names in addresses that were shared before the columns had one name in all formats.
    const FORMER = {
      interval: "robust_interval", size: "size_bytes", precision: "weights", keep: "keep_ratio", p: "allocation",
      lbn: "last_norm", seeds: "n_seeds", gradients: "health", network: "architecture", reported: "difference",
    };

    // The address says everything: "#<id>" is the plain board with one row marked, "#method=at&sort=size_bytes" a view of it.
    function readAddress() {
      const text = location.hash.slice(1);
      const id = byId.get(text) ?? byId.get(text.slice(0, 6));
      if (id !== undefined && /^[0-9a-f]{6}/.test(text)) return jump(rows[id]);
      if (text !== "" && !text.includes("=")) return draw(); // a part of the page, such as a footnote
      clear();
      const view = new URLSearchParams([...new URLSearchParams(text)].map(([name, value]) => [FORMER[name] ?? name, value]));
      for (const control of controls) control.value = view.get(control.name) ?? "";
      const key = (view.get("sort") ?? "").replace(/^-/, "");
      if ((FORMER[key] ?? key) in at) sort = { key: FORMER[key] ?? key, down: view.get("sort").startsWith("-") };
      update();
    }

    function jump(row) {
      clear();
      order = sorted(rows.filter(wanted()));
      from = Math.max(0, order.indexOf(row) - PAGE / 2);
      to = from + PAGE;
      draw();
      table.querySelectorAll(".target").forEach((line) => line.classList.remove("target"));
      row.line.classList.add("target");
      row.line.scrollIntoView({ block: "center", inline: "nearest" });
      row.line.querySelector("th a").focus({ preventScroll: true });
    }

    controls.forEach((control) => control.addEventListener("input", update));
    byName("reset").addEventListener("click", () => { clear(); update(); });
    byName("more").addEventListener("click", () => { to += MORE; draw(); });
    byName("earlier").addEventListener("click", () => { from = Math.max(0, from - MORE); draw(); });
    addEventListener("hashchange", readAddress);
    addEventListener("beforeprint", () => { from = 0; to = Infinity; draw(); });
    addEventListener("afterprint", () => { to = PAGE; draw(); });
    if (matchMedia("(max-width: 48rem)").matches) byName("filters").open = false;
    byName("controls").hidden = byName("sorting").hidden = false;
    readAddress();
  }
})();
