/* The page of a run that is at work: what is new is asked for each second, not while nobody sees it, and not after its end. */
"use strict";

(() => {
    const page = document.querySelector("[data-live]");
    if (!page) {
        return;
    }
    const EVERY = 1000;
    const LONGEST = 30000;
    const LINES = 500;
    const said = document.getElementById("ac-said");
    let cursor = page.dataset.cursor;
    let state = "";
    let wait = EVERY;
    let timer = null;
    let asking = false;

    function address(one) {
        return one.getAttribute("href") || one.getAttribute("formaction");
    }

    function put(name, html) {
        const part = document.getElementById(`ac-${name}`);
        if (!part || part.dataset.html === html) {
            return;
        }
        const fresh = document.createElement("template");
        fresh.innerHTML = html;
        if (fresh.innerHTML === part.innerHTML) {
            part.dataset.html = html;
            return;
        }
        const open = [...part.querySelectorAll("details")].map((one) => one.open);
        const focused = part.contains(document.activeElement) ? address(document.activeElement) : null;
        part.innerHTML = html; // made by the server, where all values are escaped
        part.dataset.html = html;
        part.querySelectorAll("details").forEach((one, place) => {
            if (place < open.length) {
                one.open = open[place];
            }
        });
        if (focused) {
            [...part.querySelectorAll("a, button")].find((one) => address(one) === focused)?.focus({ preventScroll: true });
        }
    }

    function append(html) {
        const lines = document.getElementById("ac-lines");
        if (!lines || !html) {
            return;
        }
        const box = lines.closest(".ac-scroll");
        const atEnd = box.scrollHeight - box.scrollTop - box.clientHeight < 30;
        lines.insertAdjacentHTML("beforeend", html);
        while (lines.rows.length > LINES) {
            lines.deleteRow(0);
        }
        document.querySelector("#ac-log .ac-none")?.remove();
        if (atEnd) {
            box.scrollTop = box.scrollHeight;
        }
    }

    async function ask() {
        timer = null;
        if (document.hidden || asking) {
            return;
        }
        asking = true;
        try {
            const query = new URLSearchParams({ cursor, level: page.dataset.level });
            const answer = await fetch(`${page.dataset.live}?${query}`, {
                headers: { Accept: "application/json" },
                redirect: "error",
            });
            if (!answer.ok) {
                throw new Error(`status ${answer.status}`);
            }
            const news = await answer.json();
            cursor = news.cursor;
            Object.entries(news.parts).forEach(([name, html]) => put(name, html));
            append(news.log);
            if (news.state !== state) {
                said.textContent = state || news.ended ? `${page.dataset.changed} ${news.state}` : "";
                state = news.state;
            }
            wait = EVERY;
            if (news.ended) {
                return;
            }
        } catch {
            wait = Math.min(wait * 2, LONGEST);
            said.textContent = page.dataset.silent;
        } finally {
            asking = false;
        }
        timer = window.setTimeout(ask, wait);
    }

    document.addEventListener("visibilitychange", () => {
        if (!document.hidden && timer === null && !asking && page.isConnected) {
            ask();
        }
    });
    document.querySelectorAll("#ac-log .ac-scroll").forEach((box) => {
        box.scrollTop = box.scrollHeight;
    });
    timer = window.setTimeout(ask, EVERY);
})();
