# As apache/kafka: the same jars, the same wrapper that reads KAFKA_*, the same user and folders.
FROM tradewind-local/debian:bookworm
RUN useradd --uid 1000 --create-home appuser \
 && install --directory --owner 1000 --group 1000 /opt/kafka/config /etc/kafka/docker /mnt/shared/config /var/lib/kafka/data
COPY java /opt/java
COPY libs /opt/kafka/libs
COPY kafka-entrypoint.sh log4j2.yaml /etc/kafka/docker/
RUN cp /etc/kafka/docker/log4j2.yaml /etc/kafka/docker/tools-log4j2.yaml \
 && touch /etc/kafka/docker/server.properties \
 && chown --recursive 1000:1000 /etc/kafka
USER 1000:1000
VOLUME /var/lib/kafka/data
ENTRYPOINT ["/etc/kafka/docker/kafka-entrypoint.sh"]
