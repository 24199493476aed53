// Shows the numbers under the pointer. Everything can be read without it.
(function () {
  var tip = document.getElementById("tip");
  function number(value) {
    return value === null ? "none" : String(Math.abs(value) >= 100 ? Math.round(value) : Number(value.toPrecision(3)));
  }
  function clock(seconds) {
    var minutes = Math.floor(seconds / 60), rest = Math.round(seconds % 60);
    return Math.floor(minutes / 60) + " h " + (minutes % 60) + " min " + rest + " s";
  }
  document.querySelectorAll("svg.chart").forEach(function (svg) {
    var at = JSON.parse(svg.dataset.at), lines = JSON.parse(svg.dataset.lines);
    var span = JSON.parse(svg.dataset.span), cursor = svg.querySelector(".cursor");
    svg.addEventListener("mousemove", function (event) {
      var box = svg.getBoundingClientRect();
      var x = (event.clientX - box.left) * svg.viewBox.baseVal.width / box.width;
      var seconds = (x - span[0]) / (span[1] - span[0]) * span[2], best = 0;
      at.forEach(function (when, i) {
        if (Math.abs(at[best] - seconds) > Math.abs(when - seconds)) { best = i; }
      });
      var shown = span[0] + at[best] / span[2] * (span[1] - span[0]);
      cursor.setAttribute("x1", shown);
      cursor.setAttribute("x2", shown);
      cursor.style.visibility = "visible";
      tip.textContent = clock(at[best]) + lines.map(function (line) {
        return "\n" + line[0] + ": " + number(line[1][best]) + " " + svg.dataset.unit;
      }).join("");
      tip.style.display = "block";
      tip.style.left = Math.min(event.clientX + 14, window.innerWidth - tip.offsetWidth - 8) + "px";
      tip.style.top = event.clientY + 14 + "px";
    });
    svg.addEventListener("mouseleave", function () {
      tip.style.display = "none";
      cursor.style.visibility = "hidden";
    });
  });
})();
