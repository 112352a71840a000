# As prom/prometheus.
FROM tradewind-local/debian:bookworm
RUN install --directory --owner 65534 --group 65534 /prometheus
USER 65534:65534
VOLUME /prometheus
EXPOSE 9090
ENTRYPOINT ["prometheus"]
