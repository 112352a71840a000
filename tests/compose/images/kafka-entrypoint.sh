#!/bin/bash
set -eu
export CLUSTER_ID=${CLUSTER_ID:-5L6g3nShT-eMCtK--X86sw}
java=(/opt/java/bin/java ${KAFKA_HEAP_OPTS:-} -Dlog4j2.configurationFile=/etc/kafka/docker/log4j2.yaml -cp '/opt/kafka/libs/*')
said=$("${java[@]}" kafka.docker.KafkaDockerWrapper setup --default-configs-dir /etc/kafka/docker \
    --mounted-configs-dir /mnt/shared/config --final-configs-dir /opt/kafka/config 2>&1) \
    || grep --quiet 'already formatted' <<< "$said" || { echo "$said"; exit 1; }
exec "${java[@]}" kafka.Kafka /opt/kafka/config/server.properties
